"""What a file is, by its first bytes and never by its name: one reader is then opened for it, and no other is tried."""

from __future__ import annotations

from redshank.media.hashes import MediaError

HEAD = 512
"""Bytes of a file's beginning that are looked at."""

_PICTURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)
_VIDEOS = (
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"FLV\x01", "flv"),
    (b"OggS", "ogg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"\x00\x00\x01\xba", "mpeg"),
)
_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"ID3", "sound"),
    (b"fLaC", "sound"),
    (b"#EXTM3U", "a play list"),
    (b"{", "text"),
    (b"<", "text"),
)
_BRANDS_OF_STILLS = {b"avif": "AVIF", b"avis": "AVIF"}
_BRANDS_NOT_READ = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc", b"hevx"}
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")


def sniff(head: bytes) -> tuple[str, str]:
    """The kind (`image` or `video`) of a file that begins with `head`, and the name of the one reader for it.

    Readers of images are Pillow's formats, those of videos FFmpeg's demuxers. Raises MediaError for anything else,
    saying what it is where that is known.
    """
    if not head:
        raise MediaError("an empty file")
    for magic, name in _PICTURES:
        if head.startswith(magic):
            return "image", name
    for magic, name in _VIDEOS:
        if head.startswith(magic):
            return "video", name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image", "WEBP"
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "video", "avi"
    if head[4:8] in _BOXES:
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4], "big"), HEAD), 4))}
        if head[4:8] == b"ftyp":
            for brand, name in _BRANDS_OF_STILLS.items():
                if head[8:12] == brand or (head[8:12] in {b"mif1", b"msf1"} and brand in brands):
                    return "image", name
            if head[8:12] in _BRANDS_NOT_READ:
                raise MediaError(
                    "a HEIC picture, which cannot be read", hint="Have it sent as JPEG, PNG, WebP or AVIF."
                )
        return "video", "mov"
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "video", "mpegts"
    for magic, words in _OTHERS:
        if head.startswith(magic):
            raise MediaError(f"{words}, not a picture or video")
    raise MediaError("neither a picture nor a video of a kind that is known here")
