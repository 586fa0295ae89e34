"""Mistakes of memory: places outside an array, places that nobody has written, addresses that are not aligned, copies under way."""

from .mutant import Mutant

MEMORY = (
    Mutant(
        "avg_pool", "backward takes windows that do not exist",
        "min_of(s.P - 1, bottom / s.stride_h)", "bottom / s.stride_h",
        by="memcheck", on="avg_pool_backward_f32*stride (1, 2)*", says="past the end of from,",
    ),
    Mutant(
        "bias_relu_pool", "an odd last row belongs to no window and gets no 0",
        "rows = (P + 1) / 2, across = Q / 2", "rows = P / 2, across = Q / 2",
        by="nan", on="bias_relu_pool_backward_scalar_f32*", says="of dy are NaN",
    ),
    Mutant(
        "conv_direct", "pixels past the last one are read too",
        "first + i < pixels && k < wide ? dy", "k < wide ? dy",
        by="memcheck", on="grad_weight 1x5x6x12*v2, float32", says="past the end of dy,",
    ),
    Mutant(
        "conv_tensor_core", "a slice is multiplied before its copies are there",
        "cp_async_wait<0>();\n            __syncthreads();\n#pragma", "__syncthreads();\n#pragma",
        by="nan", on="*v2*", header="tensor_core_tile.cuh", keep=r"\(conv_tensor_core_v2_bf16",
    ),
    Mutant(
        "conv_tensor_core_any", "the border is read and not filled with zeros",
        "within && Base::sees(i, column.r, column.s) ?", "within ?",
        by="memcheck", on="forward *any, 1 splits, float16", keep=r"^VERSION\(f16", says="of image|of x",
    ),
    Mutant(
        "conv_tensor_core_grad_weight", "pixels past the last one are copied, not zeros",
        "x && at < pixels && (unsigned)h", "x && (unsigned)h",
        by="memcheck", on="grad_weight *64x64, 1 splits, bfloat16", keep=r"^VERSION\(bf16, bf16, 64, 64", says="the end of x,",
    ),
    Mutant(
        "dropout", "vectors from an address that is not aligned",
        "const bool wide = lead == 0 && ", "const bool wide = ",
        by="memcheck", on="dropout_f32*offset 3", says="misaligned",
    ),
    Mutant(
        "ema", "neighbouring threads store vectors one number apart",
        "store<V>(average + i * V, a);", "store<V>(average + i, a);",
        by="fault", on="64 parameters, f32", says="a vector access is not aligned",
    ),
    Mutant(
        "gemm", "the ragged end of the depth is not guarded",
        "m < g.M && k0 + x < g.K ? widen(A", "m < g.M ? widen(A",
        by="memcheck", on="*nn, shared, f32", keep=r"^GEMM\(f32", says="past the end of A,",
    ),
    Mutant(
        "gemm_tensor_core", "the wait lets one group too many stay under way",
        "cp_async_wait<Tile::STAGES - 2>();\n            __syncthreads();", "cp_async_wait<Tile::STAGES - 1>();\n            __syncthreads();",
        by="initcheck", on="*nt, 64, f16", header="tensor_core_tile.cuh", keep=r"^GEMM_LETTERS\(64, 32, 3, f16",
    ),
    Mutant(
        "gemm_tensor_core", "copies are never closed into a group: the wait waits for nothing",
        "cp_async_commit();  // an empty group, too, so that the wait can count", "",
        by="nan", on="*nt, 64, f16", header="tensor_core_tile.cuh", keep=r"^GEMM_LETTERS\(64, 32, 3, f16",
    ),
    Mutant(
        "gemm_tensor_core", "what lies outside the matrix is copied, not filled with zeros",
        "place + far * stride, valid)", "place + far * stride)",
        by="memcheck", on="*nt, 64, f16", keep=r"^GEMM_LETTERS\(64, 32, 3, f16", says="past the end of (A|B),",
    ),
    Mutant(
        "im2col", "threads past the last column write too",
        "if (column >= columns) return;", "",
        by="fault", on="im2col *general, float32", says="memcheck: .* outside of col",
    ),
    Mutant(
        "philox", "the last block is written whole",
        "if (i >= 0 && i < count) put(i", "if (i >= 0) put(i",
        by="fault", on="philox_words_u32, 37 *", says=r"written outside of out \(uint32\[37\]\): 12 bytes past its end",
    ),
    Mutant(
        "relu", "what is left after the last vector is forgotten",
        "i, vectors + total % V) {\n        if (i < vectors) {\n            Vector<T, V> value",
        "i, vectors) {\n        if (i < vectors) {\n            Vector<T, V> value",
        by="nan", on="relu_forward_f32*", says="1 numbers of y are NaN",
    ),
    Mutant(
        "softmax_cross_entropy", "warps without a row go on",
        "if (row >= N) return;", "",
        by="memcheck", on="6x37, warp, f32", says="past the end of target,",
    ),
)  # fmt: skip
