"""The console's own signs: drawn on a 16 by 16 grid, in the color of the text around them."""

LOGO = (
    '<svg class="logo" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" focusable="false">'
    '<path class="leg" d="M15.2 20.5l-.6 5.2-1.9 4.3M18.6 20.2l1.2 5-.9 4.8"/>'
    '<path class="bill" d="M8.1 8.3L1.2 10.4"/>'
    '<path class="bird" d="M7.6 8.6c.3-2.2 2-3.7 4.1-3.7 2.2 0 3.6 1.5 4 3.3.4 1.7 1.3 2.6 3.1 3.2 3.3 1.1 7.6 2.9 '
    '11.9 6.6-3.4.1-5.3.6-7.4 1.5-2.3 1-4.5 1.4-6.9 1-3.6-.6-5.8-3.3-5.8-6.7 0-1.6.3-2.5.2-3.5-.1-.8-1.4-1.3-3.2-1.7z"/>'
    '<circle class="eye" cx="11.3" cy="7.9" r=".8"/></svg>'
)

ICONS: dict[str, str] = {
    "rule": '<path d="M3 3.5h10M3 8h6M3 12.5h4M10.5 11.5l1.5 1.5 2.5-3"/>',
    "user": '<path d="M4 14V2.5M4 3h8.5l-2 3 2 3H4"/>',
    "trusted_flagger": '<path d="M8 1.8l5 1.9v4c0 3.2-2.1 5.4-5 6.5-2.9-1.1-5-3.3-5-6.5v-4zM5.8 7.8l1.6 1.7 3-3.2"/>',
    "third_party": '<circle cx="5.5" cy="5.5" r="2.5"/><path d="M1.5 13.5c.3-2.6 1.8-4 4-4s3.7 1.4 4 4M10.5 3.3a2.4 2.4 0 0 1 0 4.5M12 9.8c1.5.5 2.4 1.8 2.6 3.7"/>',
    "authority": '<path d="M2 6l6-3.5L14 6zM3.5 6.5v5M6.5 6.5v5M9.5 6.5v5M12.5 6.5v5M2 13.5h12"/>',
    "person": '<circle cx="8" cy="5" r="2.7"/><path d="M2.8 14c.4-3.2 2.3-4.8 5.2-4.8s4.8 1.6 5.2 4.8"/>',
    "system": '<rect x="2.5" y="3" width="11" height="8" rx="1"/><path d="M5.5 13.5h5M8 11v2.5"/>',
    "platform": '<circle cx="8" cy="8" r="6"/><path d="M2 8h12M8 2c2.4 2.4 2.4 9.6 0 12M8 2c-2.4 2.4-2.4 9.6 0 12"/>',
    "check": '<path d="M3 8.5l3.2 3.2L13 4.5"/>',
    "cross": '<path d="M4 4l8 8M12 4l-8 8"/>',
    "dots": '<path d="M3.5 8h.01M8 8h.01M12.5 8h.01" stroke-width="2.6"/>',
    "send": '<path d="M2.5 8L14 2.5 10.5 14 8 9.5z"/>',
    "ban": '<circle cx="8" cy="8" r="5.8"/><path d="M4 4l8 8"/>',
    "undo": '<path d="M5.5 2.5L2.5 5.5l3 3M2.5 5.5H9a4.3 4.3 0 0 1 0 8.5H5"/>',
    "search": '<circle cx="7" cy="7" r="4.5"/><path d="M10.5 10.5L14 14"/>',
    "warn": '<path d="M8 2.2l6.3 11.3H1.7zM8 6.5v3.2M8 11.7h.01"/>',
    "info": '<circle cx="8" cy="8" r="6"/><path d="M8 7.3v4M8 4.8h.01"/>',
    "eye": '<path d="M1.5 8C3 5.2 5.3 3.8 8 3.8s5 1.4 6.5 4.2C13 10.8 10.7 12.2 8 12.2S3 10.8 1.5 8z"/><circle cx="8" cy="8" r="2"/>',
    "sun": '<circle cx="8" cy="8" r="3"/><path d="M8 1.5v1.7M8 12.8v1.7M1.5 8h1.7M12.8 8h1.7M3.4 3.4l1.2 1.2M11.4 11.4l1.2 1.2M12.6 3.4l-1.2 1.2M4.6 11.4l-1.2 1.2"/>',
    "moon": '<path d="M13 10A5.8 5.8 0 0 1 6 3a5.8 5.8 0 1 0 7 7z"/>',
    "auto": '<circle cx="8" cy="8" r="5.8"/><path d="M8 2.2v11.6a5.8 5.8 0 0 0 0-11.6z" fill="currentColor"/>',
    "out": '<path d="M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6"/>',
    "link": '<path d="M6.5 9.5l3-3M7 4.5L8.8 2.7a3.2 3.2 0 0 1 4.5 4.5L11.5 9M9 11.5l-1.8 1.8a3.2 3.2 0 0 1-4.5-4.5L4.5 7"/>',
    "film": '<rect x="2" y="3" width="12" height="10" rx="1"/><path d="M5 3v10M11 3v10M2 6.3h3M2 9.7h3M11 6.3h3M11 9.7h3"/>',
    "image": '<rect x="2" y="3" width="12" height="10" rx="1"/><path d="M2 11l3.5-3.5 3 3 2-2L14 12"/><circle cx="10.5" cy="6" r="1"/>',
    "text": '<path d="M3 4h10M3 8h10M3 12h6"/>',
    "pause": '<path d="M5.5 3.5v9M10.5 3.5v9" stroke-width="2"/>',
    "play": '<path d="M4.5 3l8 5-8 5z"/>',
    "lock": '<rect x="3.5" y="7" width="9" height="6.5" rx="1"/><path d="M5.5 7V5a2.5 2.5 0 0 1 5 0v2"/>',
}
"""Name to the inside of its drawing."""
