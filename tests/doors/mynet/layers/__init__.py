from .norm import BatchNorm

__all__ = ["BatchNorm"]
