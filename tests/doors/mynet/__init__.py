"""A small library for neural networks."""
from .layers import BatchNorm

__all__ = ["BatchNorm"]
