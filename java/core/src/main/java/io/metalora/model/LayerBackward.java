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
import io.metalora.runtime.op.AttentionInput;
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
    private final int heads;
    private final int kvHeads;
    private final boolean qkNorm;
    /** [T, hidden], the gradient of the residual stream, from the layer above to the layer below. */
    private final Tensor dResidual;

    private final Tensor dNormed;
    private final Tensor dActivated;
    private final Tensor dO;
    private final Tensor dqkv; // null where q, k and v are Linears of their own
    private final Tensor dq;
    private final Tensor dk;
    private final Tensor dv;
    private final AttentionInput dHeads; // those three
    private final Tensor rstd;
    /**
     * The rotated heads of a model with norms per head, which keeps q and k from before their norm. They lie as those do,
     * beside columns that nobody uses: attention wants k where v is.
     */
    private final Tensor rotatedQ;

    private final Tensor rotatedK;
    private final Tensor rstdQ;
    private final Tensor rstdK;

    LayerBackward(Memory memory, CausalLM model, LayerForward forward, int tokens) {
        var c = model.config();
        this.model = model;
        this.ops = Ops.of(model.device());
        this.forward = forward;
        int hidden = c.hiddenSize();
        this.heads = c.heads();
        this.kvHeads = c.kvHeads();
        this.qkNorm = c.qkNorm();
        this.dResidual = memory.rows(tokens, hidden, model.spareColumns(1));
        this.dNormed = memory.activation(tokens, hidden);
        this.dActivated = memory.activation(tokens, c.intermediateSize());
        this.dO = memory.activation(tokens, heads, c.headDim());
        this.dqkv = LayerActivations.stack(memory, model, tokens, Q);
        this.dq = LayerActivations.output(memory, model, tokens, dqkv, Q);
        this.dk = LayerActivations.output(memory, model, tokens, dqkv, K);
        this.dv = LayerActivations.output(memory, model, tokens, dqkv, V);
        this.dHeads = new AttentionInput(dq, dk, dv);
        this.rstd = memory.floats(tokens);
        var rotated = qkNorm ? LayerActivations.stack(memory, model, tokens, Q) : null;
        this.rotatedQ = qkNorm ? LayerActivations.output(memory, model, tokens, rotated, Q) : null;
        this.rotatedK = qkNorm ? LayerActivations.output(memory, model, tokens, rotated, K) : null;
        this.rstdQ = qkNorm ? memory.floats(tokens, heads) : null;
        this.rstdK = qkNorm ? memory.floats(tokens, kvHeads) : null;
    }

    /** What attention reads of a layer that is kept. */
    AttentionInput rotated(AttentionInput heads) {
        return qkNorm ? new AttentionInput(rotatedQ, rotatedK, heads.v()) : heads;
    }

    /** [T, hidden]: the gradient of the final norm's output goes here, before {@link #finalNorm}. */
    Tensor dFinal() {
        return dNormed;
    }

    /** [T], of the final norm. */
    Tensor rstdFinal() {
        return rstd;
    }

    /** From the gradient of the final norm's output to that of the residual stream below it. */
    void finalNorm(Tensor x, int tokens) {
        ops.rmsnormBackward(model.finalNorm(), x, rstd, dNormed, dResidual, false, tokens);
    }

    /**
     * One layer, from the gradient of its output to that of its input.
     *
     * @param below whether a layer below needs the gradient of this one's input
     */
    void layer(int layer, LayerActivations a, PackTensors pack, AttentionShape shape, boolean below) {
        int tokens = pack.tokens();
        boolean needHeads = below || adapted(layer, Q) || adapted(layer, K) || adapted(layer, V);
        boolean needMid = needHeads || adapted(layer, O);
        boolean needMlp = needMid || adapted(layer, GATE) || adapted(layer, UP);

        var y = adapted(layer, DOWN) ? forward.activate(a, tokens) : null;
        linear(layer, DOWN, y, dResidual, needMlp ? dActivated : null, tokens, false);
        if (!needMlp) {
            return;
        }
        // gate and up are not needed again, so their gradients take their place.
        ops.swigluBackward(a.gates(), dActivated, a.gates(), tokens);
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

        linear(layer, O, a.o(), dResidual, needHeads ? dO : null, tokens, false);
        if (!needHeads) {
            return;
        }
        if (qkNorm) {
            forward.rotate(layer, a, rotatedQ, rotatedK, rstdQ, rstdK, tokens);
        }
        ops.attentionBackward(shape, a.rotated(), a.attended(), dO, dHeads, pack.sequences());
        forward.rotateBack(dq, dk, tokens);
        if (qkNorm) {
            ops.headNormBackward(weights.queryNorm(), heads, a.q(), rstdQ, dq, dq, tokens);
            ops.headNormBackward(weights.keyNorm(), kvHeads, a.k(), rstdK, dk, dk, tokens);
        }
        x = forward.norm(a.in(), weights.inputNorm(), rstd, tokens);
        var dx = below ? dNormed : null;
        if (dqkv != null) {
            linear(layer, Q, x, dqkv, dx, tokens, false);
        } else {
            linear(layer, Q, x, dq, dx, tokens, false);
            linear(layer, K, x, dk, dx, tokens, true);
            linear(layer, V, x, dv, dx, tokens, true);
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
        if (linear.lora() == null && dx == null) {
            return; // frozen, and nobody asks for its input's gradient
        }
        ops.linearBackward(linear, x, dy, dx, accumulate, tokens);
    }
}
