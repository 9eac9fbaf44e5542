"""The Datapath contract on Linux: joins the loader, the maps, the hooks and the host's links.

    datapath = EbpfDatapath(settings, journal)      # links made, programs loaded or found again, gateway policed
    datapath.attach(interface, device); datapath.apply(policy); ...
    datapath.close()                                # enforcement goes on; the next EbpfDatapath adopts it

Called from one thread at a time.
"""

from stockade.datapath.ebpf.settings import EbpfSettings
from stockade.model.journal import Journal, NoJournal

_NO_JOURNAL = NoJournal()


class EbpfDatapath:
    """Enforces policy on the veth devices of the network namespace it is constructed in."""

    def __init__(
        self, settings: EbpfSettings, journal: Journal = _NO_JOURNAL, *, program: bytes | None = None
    ) -> None:
        """Adopts what a former one left under `settings.pins`, makes what is missing.

        Not in the contract but offered: `devices_gone()` marks endpoints dead whose device vanished and names them,
        `endpoint_alive(interface)`, `remove()` takes away all that was made, links and namespace included,
        `settings.services_namespace` is where the services (metadata, DNS) are to listen.
        `program`: the object file to load instead of the one shipped for this byte order.
        Raises DatapathUnavailable (features.py) with what is missing and how to fix it.
        """
        self._settings = settings
        self._journal = journal
        self._program = program
