"""Closed-form predictions and the rules that move hyper-parameters with size."""
