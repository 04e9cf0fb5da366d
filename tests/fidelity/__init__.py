"""Both kernels, asked the same: the model must answer as the running one does."""
