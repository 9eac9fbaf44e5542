"""Settings: who wins, who is trusted, and what is said about mistakes."""

from pathlib import Path

import pytest

from stockade.daemon.settings import KEYS, SettingsError, load


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_value_knows_its_origin(tmp_path: Path) -> None:
    write(tmp_path / "home" / ".config" / "stockade" / "config.toml", '[site]\nname = "home"\n[api]\nera = "2009"\n')
    project = write(tmp_path / "work" / "stockade.toml", '[site]\nname = "work"\n')
    environment = {"HOME": str(tmp_path / "home"), "STOCKADE_API_LISTEN": "127.0.0.1:9000"}
    chosen = load({"enforce.mode": "none"}, environment, user=1000, directory=tmp_path / "work")
    assert chosen.values["site.name"].value == "work"
    assert chosen.values["site.name"].origin == str(project)
    assert chosen.values["api.era"].origin.endswith("config.toml")
    assert chosen.values["api.listen"].origin == "environment STOCKADE_API_LISTEN"
    assert chosen.values["enforce.mode"].origin == "option enforce.mode"
    assert chosen.values["images.unknown"].origin == "default"


def test_every_key_has_a_variable_of_its_own(tmp_path: Path) -> None:
    for key in KEYS:
        if isinstance(key.default, str) and key.choices:
            name = f"STOCKADE_{key.name.replace('.', '_').upper()}"
            chosen = load(environment={name: key.choices[0]}, user=1000, directory=tmp_path)
            assert chosen.values[key.name].origin == f"environment {name}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[api]\nlissten = "127.0.0.1:1"\n', "did you mean api.listen?"),
        ('[network]\nuplink = "masquerade"\n', "network.uplink must be none"),
        ("[quotas]\ninstances = true\n", "quotas.instances must be a number"),
        ('[api]\nlisten = "0.0.0.0:8773"\n', "must be a loopback address"),
        ('[network]\npublic_pool = "10.1.0.0/16"\n', "overlaps network.classic"),
        ('[network]\npublic_pool = "198.18.0.1/16"\n', "must be an IPv4 network"),
        ('[network]\nresolver = ["0.0.0.0"]\n', "must be addresses of this host"),
        ('[site]\nname = "Über/x"\n', "site.name must be"),
        ("[regions]\nus-east-1 = []\n", "regions must name"),
        ("not toml", "is not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "stockade.toml", text)
    with pytest.raises(SettingsError) as caught:
        load(config=path, environment={}, user=0)
    assert said in f"{caught.value.what} {caught.value.why}"


def test_root_does_not_obey_a_file_that_is_not_roots(tmp_path: Path) -> None:
    write(tmp_path / "stockade.toml", '[site]\nname = "evil"\n').chmod(0o666)
    chosen = load(environment={}, user=0, directory=tmp_path)
    assert chosen.site == "stockade"
    assert chosen.ignored == (tmp_path / "stockade.toml",)


def test_a_file_named_on_the_command_line_is_read_whoever_owns_it(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", '[site]\nname = "mine"\n')
    path.chmod(0o666)
    assert load(config=path, environment={}, user=0).site == "mine"


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        load(environment={"STOCKADE_CONFIG": str(tmp_path / "none.toml")}, user=1000)


def test_lists_in_the_environment_are_joined_by_commas(tmp_path: Path) -> None:
    chosen = load(environment={"STOCKADE_NETWORK_DEVICES": "eth0, eth1"}, user=1000, directory=tmp_path)
    assert chosen["network.devices"] == ["eth0", "eth1"]


def test_tables_of_names_are_the_users_own(tmp_path: Path) -> None:
    path = write(tmp_path / "s.toml", '[regions]\neu-west-1 = ["eu-west-1a"]\n[images.alias]\nami-1 = "ami-eca54085"\n')
    chosen = load(config=path, environment={}, user=1000)
    assert chosen["regions"] == {"eu-west-1": ["eu-west-1a"]}
    assert chosen["images.alias"] == {"ami-1": "ami-eca54085"}


def test_without_root_everything_lies_below_home(tmp_path: Path) -> None:
    chosen = load(environment={"HOME": "/home/u"}, user=1000, directory=tmp_path)
    assert str(chosen.run_directory) == "/home/u/.local/state/stockade/run"
    assert str(chosen.state_path) == "/home/u/.local/state/stockade/state.db"


@pytest.mark.parametrize("pool", ["fe80::/40", "fd00:ec2::/40", "::/0", "fd5c:ec2::/60", "10.0.0.0/8", "pool"])
def test_the_ipv6_pool_is_room_for_networks_and_nothing_else(tmp_path: Path, pool: str) -> None:
    with pytest.raises(SettingsError, match=r"network\.ipv6_pool"):
        load({"network.ipv6_pool": pool}, {}, user=1000, directory=tmp_path)


@pytest.mark.parametrize("flows", ["63", "131073", "-1"])
def test_an_allowance_of_flows_has_bounds(tmp_path: Path, flows: str) -> None:
    with pytest.raises(SettingsError, match=r"quotas\.tracked_flows must be from 64 to 131072"):
        load({"quotas.tracked_flows": flows}, {}, user=1000, directory=tmp_path)
