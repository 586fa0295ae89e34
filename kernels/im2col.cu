// im2col: unfold the patches of a convolution into the rows of a matrix, and col2im, its transpose.
//
//   v1  one thread per element of the matrix, read straight from global memory
//
// Legend: N batch, C channels in, H W input, R S filter, P Q output, stride (u, v), padding (h, w), dilation (i, j).
// x is NHWC. col has N·P·Q rows of R·S·C elements: row (n, p, q), column (r, s, c). So a GEMM with the (K, R·S·C) weight
// gives the NHWC output, and neighbouring threads (c fastest) read and write neighbouring addresses.
//
// N·P·Q·R·S·C passes 2^31 at batch 75 of VGG's conv1_2: every product below is 64-bit.

struct Conv2dShape {
    int N, C, H, W, R, S, P, Q, u, v, h, w, i, j;
};

extern "C" __global__ void im2col_nhwc_f32(const float* __restrict__ x, float* __restrict__ col, Conv2dShape g) {
    const long long columns = (long long)g.R * g.S * g.C;
    const long long total = (long long)g.N * g.P * g.Q * columns;
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x; e < total; e += step) {
        const long long row = e / columns;
        const int column = (int)(e % columns);
        const int c = column % g.C, s = column / g.C % g.S, r = column / g.C / g.S;
        const int q = (int)(row % g.Q), p = (int)(row / g.Q % g.P);
        const long long n = row / g.Q / g.P;
        const int y = p * g.u - g.h + r * g.i, z = q * g.v - g.w + s * g.j;
        const bool inside = 0 <= y && y < g.H && 0 <= z && z < g.W;
        col[e] = inside ? x[((n * g.H + y) * g.W + z) * g.C + c] : 0.0f;
    }
}

// One thread per element of x gathers every column entry it was copied to: no atomics, so the sum's order is fixed.
extern "C" __global__ void col2im_nhwc_f32(const float* __restrict__ col, float* __restrict__ x, Conv2dShape g) {
    const long long columns = (long long)g.R * g.S * g.C;
    const long long total = (long long)g.N * g.H * g.W * g.C;
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x; e < total; e += step) {
        const int c = (int)(e % g.C), z = (int)(e / g.C % g.W), y = (int)(e / g.C / g.W % g.H);
        const long long n = e / g.C / g.W / g.H;
        float sum = 0.0f;
        for (int r = 0; r < g.R; ++r) {
            const int top = y + g.h - r * g.i;
            if (top < 0 || top % g.u || top / g.u >= g.P) continue;
            for (int s = 0; s < g.S; ++s) {
                const int left = z + g.w - s * g.j;
                if (left < 0 || left % g.v || left / g.v >= g.Q) continue;
                const long long row = (n * g.P + top / g.u) * g.Q + left / g.v;
                sum += col[row * columns + ((long long)r * g.S + s) * g.C + c];
            }
        }
        x[e] = sum;
    }
}
