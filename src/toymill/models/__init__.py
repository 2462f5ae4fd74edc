"""Statistical models: one module for each way to state one."""
