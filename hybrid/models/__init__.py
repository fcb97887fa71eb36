"""The encoder: backbone, pooling, forward without padding, loading and saving."""

from hybrid.models.config import FromScratch, LoraConfig, ModelConfig

__all__ = ["FromScratch", "LoraConfig", "ModelConfig"]
