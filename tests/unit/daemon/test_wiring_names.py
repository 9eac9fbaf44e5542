"""What follows from a site's name in two places is the same in both."""

from ipaddress import IPv4Network
from pathlib import Path

from stockade.daemon.wiring import names
from stockade.datapath.ebpf.settings import EbpfSettings


def test_devices_are_named_as_the_datapath_names_them() -> None:
    settings = EbpfSettings("sk-long-name", Path("/x"), IPv4Network("198.18.0.0/16"), Path("/y"))
    assert names.prefix("sk-long-name") == settings.prefix
    assert set(names.host_devices("sk-long-name")) == {
        settings.gateway_device,
        settings.gateway_peer,
        settings.services_device,
    }
