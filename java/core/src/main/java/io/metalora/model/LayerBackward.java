package io.metalora.model;

import static io.metalora.adapter.Projection.DOWN;
import static io.metalora.adapter.Projection.GATE;
import static io.metalora.adapter.Projection.K;
import static io.metalora.adapter.Projection.O;
import static io.metalora.adapter.Projection.Q;
import static io.metalora.adapter.Projection.UP;
import static io.metalora.adapter.Projection.V;

import io.metalora.adapter.Projection;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AttentionShape;
import io.metalora.runtime.op.Ops;

/**
 * The backward of decoder layers: adapter gradients, and the gradient of the residual stream as far down as an adapter
 * still needs it. No frozen weight has a gradient.
 */
final class LayerBackward {
    private final CausalLM model;
    private final Ops ops;
    private final LayerForward forward;
    private final BackwardBuffers buffers;
    private final BackwardBuffers.Rotated rotated; // null but with norms per head

    LayerBackward(CausalLM model, LayerForward forward, BackwardBuffers buffers) {
        this.model = model;
        this.ops = Ops.of(model.device());
        this.forward = forward;
        this.buffers = buffers;
        this.rotated = buffers.rotated();
    }

    /** [T, hidden]: the gradient of the final norm's output goes here, before {@link #finalNorm}. */
    Tensor dFinal() {
        return buffers.dNormed();
    }

    /** [T], of the final norm. */
    Tensor rstdFinal() {
        return buffers.rstd();
    }

    /** From the gradient of the final norm's output to that of the residual stream below it. */
    void finalNorm(Tensor x, int tokens) {
        ops.rmsnormBackward(model.finalNorm(), x, buffers.rstd(), buffers.dNormed(), buffers.dResidual(), false, tokens);
    }

    /**
     * One layer, from the gradient of its output to that of its input.
     *
     * @param below whether a layer below needs the gradient of this one's input
     */
    void layer(int layer, LayerActivations a, PackTensors pack, AttentionShape shape, boolean below) {
        int tokens = pack.tokens();
        var dResidual = buffers.dResidual();
        var dNormed = buffers.dNormed();
        var rstd = buffers.rstd();
        var dHeads = buffers.dHeads();
        boolean needHeads = below || adapted(layer, Q) || adapted(layer, K) || adapted(layer, V);
        boolean needMid = needHeads || adapted(layer, O);
        boolean needMlp = needMid || adapted(layer, GATE) || adapted(layer, UP);

        var y = adapted(layer, DOWN) ? forward.activate(a, tokens) : null;
        linear(layer, DOWN, y, dResidual, needMlp ? buffers.dActivated() : null, tokens, false);
        if (!needMlp) {
            return;
        }
        // gate and up are not needed again, so their gradients take their place.
        ops.swigluBackward(a.gates(), buffers.dActivated(), a.gates(), tokens);
        var weights = model.layer(layer);
        var x = forward.norm(a.mid(), weights.postAttentionNorm(), rstd, tokens);
        var dMid = needMid ? dNormed : null;
        if (a.gateUp() != null) {
            linear(layer, GATE, x, a.gateUp(), dMid, tokens, false);
        } else {
            linear(layer, GATE, x, a.gates().gate(), dMid, tokens, false);
            linear(layer, UP, x, a.gates().up(), dMid, tokens, true);
        }
        if (!needMid) {
            return;
        }
        ops.rmsnormBackward(weights.postAttentionNorm(), a.mid(), rstd, dNormed, dResidual, true, tokens);

        linear(layer, O, a.o(), dResidual, needHeads ? buffers.dO() : null, tokens, false);
        if (!needHeads) {
            return;
        }
        if (rotated != null) {
            forward.rotate(layer, a, rotated.q(), rotated.k(), rotated.rstdQ(), rotated.rstdK(), tokens);
        }
        ops.attentionBackward(shape, a.rotated(), a.attended(), buffers.dO(), dHeads, pack.sequences());
        forward.rotateBack(dHeads.q(), dHeads.k(), tokens);
        if (rotated != null) {
            var c = model.config();
            ops.headNormBackward(weights.queryNorm(), c.heads(), a.q(), rotated.rstdQ(), dHeads.q(), dHeads.q(), tokens);
            ops.headNormBackward(weights.keyNorm(), c.kvHeads(), a.k(), rotated.rstdK(), dHeads.k(), dHeads.k(), tokens);
        }
        x = forward.norm(a.in(), weights.inputNorm(), rstd, tokens);
        var dx = below ? dNormed : null;
        if (buffers.dqkv() != null) {
            linear(layer, Q, x, buffers.dqkv(), dx, tokens, false);
        } else {
            linear(layer, Q, x, dHeads.q(), dx, tokens, false);
            linear(layer, K, x, dHeads.k(), dx, tokens, true);
            linear(layer, V, x, dHeads.v(), dx, tokens, true);
        }
        if (below) {
            ops.rmsnormBackward(weights.inputNorm(), a.in(), rstd, dNormed, dResidual, true, tokens);
        }
    }

    private boolean adapted(int layer, Projection p) {
        return forward.term(layer, p) != null;
    }

    private void linear(int layer, Projection p, Tensor x, Tensor dy, Tensor dx, int tokens, boolean accumulate) {
        var linear = forward.linear(layer, p);
        if (linear.term() == null && dx == null) {
            return; // frozen, and its input's gradient is not needed
        }
        ops.linearBackward(linear, x, dy, dx, accumulate, tokens);
    }
}
