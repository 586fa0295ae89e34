"""Floor 9: times that can be trusted, with the error beside them and the machine they were measured on.

    timing        A B A B …: medians and spread
    machine       what it was measured on: processor, threads, GEMM peak, copy rate
    problems      convolutions by hand or from a net
    accuracy      the error against float64, beside the bound
    conv          every algorithm of a convolution, PyTorch beside it
    model         whole nets: inference, training step, peak memory, error
    scaling       time against batch and pixels
    roofline      the picture
"""
