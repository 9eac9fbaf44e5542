"""The maps and programs of one site, open: an object file, and what is pinned already, made usable."""

import os
from contextlib import ExitStack

from stockade.datapath.ebpf import layout, loader
from stockade.datapath.ebpf.features import DatapathUnavailable, require_host
from stockade.datapath.ebpf.flow_ring import FlowRing
from stockade.datapath.ebpf.maps import KeptMap, Map, PerCpuMap, RuleHitTable, SharedArray, possible_cpus
from stockade.datapath.ebpf.pins import Pins
from stockade.datapath.ebpf.settings import EbpfSettings

_SHARED = ("devices", "endpoints", "endpoint_names", "policies", "intervals", "rule_numbers", "rules", "usages", "host")
KEPT = (
    *("addresses", "addresses6", "publics", "publics6", "far_devices"),
    *("rule_sets", "prefixes", "prefixes6"),
)
"""Written by us alone, and so held against what we wrote."""
_PER_CPU = ("drops", "lost_events")
_ELSEWHERE = ("events", "works")  # read by the ring, and by nobody but the programs
_OTHERWISE = (*_SHARED, *_PER_CPU, *_ELSEWHERE, *KEPT)


class KernelObjects:
    """Descriptors of all maps and programs. Closing lets go of them; pins and filters keep them alive."""

    def __init__(self, settings: EbpfSettings, pins: Pins, program: bytes | None) -> None:
        """Raises DatapathUnavailable, and then nothing is left open."""
        spec = loader.read_object(program if program is not None else _shipped(settings.fault)).resized(
            {
                "flows_tcp": settings.flows_tcp,
                "flows_other": settings.flows_other,
                "flows6_tcp": settings.flows_tcp,
                "flows6_other": settings.flows_other,
                "rules": layout.MAX_RULES * possible_cpus(),
            }
        )
        with ExitStack() as opened:
            try:
                descriptors = pins.open_maps(spec)
                self.kept = {name: KeptMap(name, descriptors[name]) for name in KEPT}
                others = {name: Map(name, descriptors[name]) for name in descriptors if name not in _OTHERWISE}
                self.maps = {**others, **self.kept}
                self.shared = {name: SharedArray(name, descriptors[name]) for name in _SHARED}
                self.per_cpu = {name: PerCpuMap(name, descriptors[name]) for name in _PER_CPU}
                self.ring = FlowRing(descriptors["events"])
                for one in self.maps.values():
                    opened.callback(one.close)
                for shared in self.shared.values():
                    opened.callback(shared.close)
                for counted in self.per_cpu.values():
                    opened.callback(counted.close)
                opened.callback(self.ring.close)
                opened.callback(os.close, descriptors["works"])
                self.programs = loader.load_programs(spec, descriptors)
                for fd in self.programs.values():
                    opened.callback(os.close, fd)
            except OSError as err:
                require_host()
                raise DatapathUnavailable(
                    f"the kernel refused the programs: {err}", "Report this with the kernel's version"
                ) from err
            self.hits = RuleHitTable(self.shared["rules"], layout.MAX_RULES)
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()


def _shipped(fault: str) -> bytes:
    try:
        return loader.shipped_object(fault)
    except FileNotFoundError as err:
        raise DatapathUnavailable(
            f"the kernel object {err.filename} was not built",
            "Build it: bpf/build.sh src/stockade/datapath/ebpf/objects",
        ) from err
