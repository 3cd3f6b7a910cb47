"""A laboratory with known chances of success: worlds without a model, in which the best allocation is known exactly."""
