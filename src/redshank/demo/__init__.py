"""`redshank demo`: a made-up platform, lived through at speed, with what was planted in it and what was found again.

Everything here is harmless and made on the spot from a seed: names, texts, pictures, a video.
"""
