"""Real data without downloads: text and images that packages bring, as batches by step number."""

from equipoise.recipes.data.batches import Batch, Batches, ImageBatches, TextBatches
from equipoise.recipes.data.image_data import IMAGE_SOURCES, ImageData
from equipoise.recipes.data.text_data import TEXT_SOURCES, TextData

__all__ = ["IMAGE_SOURCES", "TEXT_SOURCES", "Batch", "Batches", "ImageBatches", "ImageData", "TextBatches", "TextData"]
