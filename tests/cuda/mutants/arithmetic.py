"""Mistakes of arithmetic and of indices: other numbers than the reference's."""

from .mutant import Mutant

ARITHMETIC = (
    Mutant(
        "adaptive_pool", "ranges end at the floor: a row that two ranges share goes to one",
        "((int64)(i + 1) * size + out - 1) / out", "(int64)(i + 1) * size / out",
        by="numbers", on="adaptive_avg_pool_forward_naive_f32, 2x3x7x5 *",
    ),
    Mutant(
        "augment", "the flip is off by one pixel",
        "a.Q - 1 - q", "a.Q - q",
        by="numbers", on="*each, f32*",
    ),
    Mutant(
        "augment", "reflection repeats the border pixel",
        "place < 0 ? -place : 2 * (size - 1) - place", "place < 0 ? -place - 1 : 2 * size - 1 - place",
        by="numbers", on="*each, f32*reflect 1*",
    ),
    Mutant(
        "avg_pool", "the padding counts although it should not",
        "min_of(start + length, size) - max_of(start, 0)", "min_of(start + length, size) - start",
        by="numbers", on="avg_pool_forward_naive_f32*counting (False, 0)",
    ),
    Mutant(
        "batch_norm", "the running variance is the biased one",
        "all.squares / max_of(all.count - 1, 1.0)", "all.squares / all.count",
        by="numbers", on="batch_norm_statistics_f32*",
    ),
    Mutant(
        "batch_norm", "E[x²] − E[x]²: a large mean takes all the digits",
        "mean += apart / (double)(m + 1);\n            squares += apart * (value - mean);",
        "mean += value / (double)M;\n            squares += value * value;\n"
        "            if (m == M - 1) squares = (float)squares - (float)(mean * mean * M);",
        by="numbers", on="*statistics_naive_f32*, around 2000", says="invstd",
    ),
    Mutant(
        "batch_norm", "squares about the first value are taken for squares about the mean",
        "squares[v] - sum[v] * (sum[v] / count)", "squares[v]",
        by="numbers", on="batch_norm_statistics_f32*",
    ),
    Mutant(
        "batch_norm", "threads are merged without what their means differ by",
        " + apart * apart * (a.count * b.count / count)", "",
        by="numbers", on="batch_norm_statistics_f32*",
    ),
    Mutant(
        "bias_relu_pool", "winners are packed by two bits and unpacked by one",
        ">> (v % 4 * 2) & 3", ">> (v % 4) & 3",
        by="numbers", on="bias_relu_pool_backward_f32*", header="planes.cuh",
    ),
    Mutant(
        "conv_direct", "a tap may look one pixel past the border",
        "0 <= at && at < size ? at : -1", "0 <= at && at <= size ? at : -1",
        by="numbers", on="forward 2x6x5x8*v1, float32", header="conv_operands.cuh",
    ),
    Mutant(
        "conv_implicit_gemm", "the last split is not added",
        "split < splits; ++split)", "split < splits - 1; ++split)",
        by="numbers", on="forward *2 splits, float16", keep=r"^GENERAL\(f16",
    ),
    Mutant(
        "conv_tensor_core", "the quarters of an mma fragment are transposed",
        "row + m % 2 * 8, deep = k + (t + m / 2 * 4)", "row + m / 2 * 8, deep = k + (t + m % 2 * 4)",
        by="numbers", on="forward *v1, 1 splits, float16", keep=r"^FIRST_RUNG\(f16",
    ),
    Mutant(
        "dropout", "backward forgets to scale what was kept",
        "slope.at[v] = widen(value.at[v]) > 0 ? narrow<T>(widen(slope.at[v]) * scale)", "slope.at[v] = widen(value.at[v]) > 0 ? slope.at[v]",
        by="numbers", on="relu_dropout_backward_f32*",
    ),
    Mutant(
        "ema", "the average and the parameters have changed places",
        "__fadd_rn(a, __fmul_rn(__fsub_rn(w, a), weight))", "__fadd_rn(w, __fmul_rn(__fsub_rn(a, w), weight))",
        by="numbers", on="64 parameters, f32",
    ),
    Mutant(
        "gemm", "sums are kept in 16 bits",
        "sum[i][j] += widen(x.at[v]) * widen(y[j].at[v]);", "sum[i][j] = widen(narrow<T>(sum[i][j] + widen(x.at[v]) * widen(y[j].at[v])));",
        by="numbers", on="*thin, f16", keep=r"^GEMM\(f16",
    ),
    Mutant(
        "gemm", "the bias belongs to rows",
        "*c = finish<T>(sum, bias, c, n, g);\n    }\n}\n\n// Any strides", "*c = finish<T>(sum, bias, c, m, g);\n    }\n}\n\n// Any strides",
        by="numbers", on="*nn, naive, f32", keep=r"^GEMM\(f32",
    ),
    Mutant(
        "gemm_tensor_core", "copies do not lie where ldmatrix looks for them: no swizzle",
        "to + Lies::offset(Mine::line(i), Mine::word())", "to + (Mine::line(i) * Lies::WORDS + Mine::word()) * 16",
        by="numbers", on="*nn, 64, f16", keep=r"^GEMM_LETTERS\(64, 32, 3, f16",
    ),
    Mutant(
        "im2col", "columns move by the stride of rows",
        "at.w * g.stride_w + left", "at.w * g.stride_h + left",
        by="numbers", on="im2col *stride (2, 1)*general, float32",
    ),
    Mutant(
        "local_response_norm", "α is not divided by the size of the window",
        "d[v] = multiply_add(A(norm.alpha / norm.n)", "d[v] = multiply_add(A(norm.alpha)",
        by="numbers", on="local_response_norm_forward_f32*",
    ),
    Mutant(
        "local_response_norm", "backward does not mirror an even window",
        "c - (norm.n - 1) / 2, 0); j <= min_of(c + norm.n / 2,", "c - norm.n / 2, 0); j <= min_of(c + (norm.n - 1) / 2,",
        by="numbers", on="local_response_norm_backward_naive_f32*",
    ),
    Mutant(
        "max_pool", "the last of equal values wins",
        "return x > best || x != x;", "return x >= best || x != x;",
        by="numbers", on="max_pool_forward_naive_f32*", header="vector.cuh",
    ),
    Mutant(
        "max_pool", "the padding is 0, not −∞",
        "filled<V>(-infinity<Acc<T>>())", "filled<V>(Acc<T>(0))",
        by="numbers", on="max_pool_forward_f32*",
    ),
    Mutant(
        "max_pool", "with dilation, windows that jump over a pixel send it gradients",
        "if (down % s.dilation_h) continue;", "",
        by="numbers", on="max_pool_backward_f32*",
    ),
    Mutant(
        "philox", "nine rounds",
        "round < 10", "round < 9",
        by="numbers", on="philox_words_each_u32, 37 *", header="philox.cuh",
    ),
    Mutant(
        "philox", "the block's number is cut to 32 bits",
        "c1 = (uint32)(block >> 32)", "c1 = 0",
        by="numbers", on="philox_words_u32*", header="philox.cuh",
    ),
    Mutant(
        "relu", "the slope at 0 is 1",
        "widen(y) > 0", "widen(y) >= 0",
        by="numbers", on="relu_backward_f32*",
    ),
    Mutant(
        "sgd", "weight decay is left out",
        "if (decay) d = plus(times(w, decay), d);", "",
        by="numbers", on="96 parameters, each, f32",
    ),
    Mutant(
        "sgd", "Nesterov's step is an ordinary one",
        "nesterov ? plus(d, times(v, momentum)) : v", "v",
        by="numbers", on="96 parameters, vector, f32",
    ),
    Mutant(
        "sgd", "the first parameters of a group have the options of the one before",
        "while (i >= *ends)", "while (i > *ends)",
        by="numbers", on="96 parameters, each, f32",
    ),
    Mutant(
        "sgd", "gradients after the last vector are not looked at",
        "i, vectors + total - V * vectors", "i, vectors",
        by="numbers", on="*among 1003 gradients, f16", keep=r"\bf16\b",
    ),
    Mutant(
        "softmax_cross_entropy", "label smoothing is in the loss and not in its gradient",
        "if (smoothing) d -= even * (weight ? widen(weight[c]) : A(1));", "",
        by="numbers", on="6x37, thread, f32",
    ),
    Mutant(
        "softmax_cross_entropy", "half the lanes of a warp are left out of the sum",
        "int far = 16; far; far /= 2) value", "int far = 8; far; far /= 2) value",
        by="numbers", on="6x37, warp, f32",
    ),
)  # fmt: skip
