// ml_rmsnorm_forward and _backward.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

// Rows side by side, as one of a matrix.
static Count norm_width(const ml_rmsnorm_desc &d) { return Count(d.group == 0 ? 1 : d.group) * d.width; }
static int64_t norm_groups(const ml_rmsnorm_desc &d) { return d.group == 0 ? d.rows : d.rows / d.group; }
static bool same_stride(const ml_rmsnorm_desc &d, int64_t a, int64_t b) {
    const Count width = norm_width(d);
    return width.valid() && stride_of(a, width.value()) == stride_of(b, width.value());
}

static void check_rmsnorm(Check &c, const ml_rmsnorm_desc &d) {
    c.size("rows", d.rows).positive("width", d.width).size("group", d.group);
    c.require(d.group == 0 || d.rows % d.group == 0, "rows", "are not whole groups");
    c.stride("x_stride", d.x_stride, norm_width(d)).stride("dy_stride", d.dy_stride, norm_width(d)).stride("out_stride", d.out_stride, norm_width(d));
    c.finite("eps", d.eps).require(d.eps >= 0, "eps", "is negative");
    if (!c.ok()) return;
    c.activations("x", d.x, norm_groups(d), norm_width(d), d.x_stride).floats("weight", d.weight, d.width);
}

void metalora::check_rmsnorm_forward(Check &c, const ml_rmsnorm_desc &d) {
    check_rmsnorm(c, d);
    if (!c.ok()) return;
    c.activations("y", d.y, norm_groups(d), norm_width(d), d.out_stride);
    c.require(d.y != d.x || same_stride(d, d.out_stride, d.x_stride) || d.rows == 0, "y", "may be x only where out_stride is x_stride");
    if (d.rstd != nullptr) c.floats("rstd", d.rstd, d.rows);
}

int32_t ml_rmsnorm_forward(ml_context *context, const ml_rmsnorm_desc *desc) {
    return run_op(context, "ml_rmsnorm_forward", &OpTable::rmsnorm_forward, check_rmsnorm_forward, desc);
}

int32_t ml_rmsnorm_backward(ml_context *context, const ml_rmsnorm_desc *desc) {
    return run_op(context, "ml_rmsnorm_backward", &OpTable::rmsnorm_backward, [](Check &c, const ml_rmsnorm_desc &d) {
        check_rmsnorm(c, d);
        if (!c.ok()) return;
        c.floats("rstd", d.rstd, d.rows).activations("dy", d.dy, norm_groups(d), norm_width(d), d.dy_stride);
        c.activations("dx", d.dx, norm_groups(d), norm_width(d), d.out_stride);
        c.require(d.dx != d.dy || same_stride(d, d.out_stride, d.dy_stride) || d.rows == 0, "dx", "may be dy only where out_stride is dy_stride");
        c.require(d.dx != d.x || d.rows == 0, "dx", "may not be x");
        c.require(d.dx != d.dy || d.accumulate == 0 || d.rows == 0, "dx", "may be dy only when accumulate is 0");
    }, desc);
}
