"""PyTorch's own allocator as an oracle: a stand-in for the CUDA driver, and a program that feeds it requests."""
