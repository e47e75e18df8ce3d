"""One small client a protocol, each turning answers into records. They know no store and no framework.

They are our own and not those of the `threatexchange` package: those put access tokens into addresses, follow whatever address
a server names, hold answers of any size, read withdrawn hashes of StopNCII as live ones, and take times as local ones.
"""

from __future__ import annotations

from redshank.exchanges.records import Kind
from redshank.exchanges.sources import lists, misp, ncmec, stopncii, taxii, tcap, threatexchange

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        threatexchange.KIND, tcap.KIND, lists.TCAP_LINKS, ncmec.KIND, stopncii.KIND, taxii.KIND, misp.KIND, misp.FEED,
        lists.STIX, lists.CSV, lists.JSON,
    )
}  # fmt: skip
"""All kinds of sources, by name."""
