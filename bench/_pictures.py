"""Lifelike pictures, made from a seed: fields of color with texture at every scale, shapes with edges, light, grain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Rng = np.random.Generator


def texture(rng: Rng, width: int, height: int, *, rough: float = 1.8) -> npt.NDArray[np.uint8]:
    """Clouds of color, (height, width, 3) uint8: noise of many scales, the finer ones fainter by `rough`."""
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 10):
        cells = 2**octave
        noise = rng.normal(0, 1, (height * cells // 1024 + 2, width * cells // 1024 + 2, 3)).astype(np.float32)
        noise = noise.mean(axis=2, keepdims=True) * 0.9 + noise * 0.35
        layers = [
            np.asarray(Image.fromarray(noise[..., c]).resize((width, height), Image.Resampling.BICUBIC))
            for c in range(3)
        ]
        total += np.stack(layers, axis=2) / rough ** (octave - 2)
    low, high = total.min(), total.max()
    return ((total - low) / (high - low) * 255).astype(np.uint8)


def picture(rng: Rng, width: int, height: int) -> Image.Image:
    """One picture of `width` by `height` pixels: a textured ground, some shapes, a light across it, and grain."""
    image = Image.fromarray(texture(rng, width, height, rough=rng.uniform(1.5, 2.2)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 25))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h = rng.uniform(0.03, 0.4, 2) * (width, height)
        color = tuple(int(c) for c in rng.integers(0, 256, 3))
        kind = rng.integers(0, 4)
        if kind == 0:
            draw.rectangle((x, y, x + w, y + h), fill=color)
        elif kind == 1:
            draw.ellipse((x, y, x + w, y + h), fill=color)
        elif kind == 2:
            draw.polygon([(x + rng.uniform(-w, w), y + rng.uniform(-h, h)) for _ in range(5)], fill=color)
        else:
            draw.line((x, y, x + w, y - h), fill=color, width=int(rng.integers(2, 40)))
    pixels = np.asarray(image).astype(np.float32)
    light = np.linspace(rng.uniform(0.5, 1), rng.uniform(0.7, 1.3), width, dtype=np.float32)[None, :, None]
    pixels = pixels * light + rng.normal(0, rng.uniform(1, 6), pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
