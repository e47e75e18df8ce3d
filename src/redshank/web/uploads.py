"""A request with a file that is larger than any that we take is refused before it fills the disk."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler
from django.utils.translation import gettext as _

FORM = 1024 * 1024
"""Bytes that a form may take beside its file."""


class Capped(FileUploadHandler):
    """Looks at how long a request says that it is; the server reads no more of it than that."""

    def handle_raw_input(
        self,
        input_data: Any,
        meta: Any,
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> None:
        """Raises RequestDataTooBig. Large imports are taken from people who signed in alone."""
        most = settings.REDSHANK.media.max_bytes
        user = getattr(self.request, "user", None)
        if user is not None and user.is_authenticated:
            most = max(most, settings.REDSHANK.banks.max_import_bytes)
        if content_length > most + FORM:
            raise RequestDataTooBig(_("The file is too large."))

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Leaves what comes to the next handler."""
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leaves the file to the next handler."""
