// The shape of a convolution, passed to kernels by value; scratchvgg/cuda/structs.py has the same fields in the same order.
//
// Legend: N batch, C channels in, H W input, K channels out, R S filter, P Q output. Activations are NHWC, filters KRSC (C / groups deep).
#pragma once

struct ConvShape {
    int N, C, H, W, K, R, S, P, Q;
    int stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups;
};
