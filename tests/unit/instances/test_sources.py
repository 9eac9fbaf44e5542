from stockade.instances.images.sources import release_codename, select_deb822, select_lines

DEB822 = """Types: deb
URIs: http://one.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://two.example/security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: http://third.example/party
Suites: stable
Components: main

Types: deb-src
URIs: http://one.example/debian
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""

LINES = """# deb http://commented.example/debian bookworm main
deb http://one.example/debian bookworm main contrib
deb [signed-by=/k.gpg arch=amd64] http://two.example/debian bookworm-security main
deb-src http://one.example/debian bookworm main
deb http://third.example/party nodistro main
"""


def test_the_release_is_named_with_or_without_quotes() -> None:
    assert release_codename('NAME="Debian"\nVERSION_CODENAME=bookworm\n') == "bookworm"
    assert release_codename('VERSION_CODENAME="noble"\n') == "noble"
    assert release_codename("ID=arch\n") is None


def test_only_enabled_binary_stanzas_of_the_release_are_taken() -> None:
    chosen = select_deb822(DEB822, "bookworm")
    assert "one.example" in chosen
    assert "Signed-By: /usr/share/keyrings/a.gpg" in chosen
    for left_out in ("third.example", "deb-src", "off.example"):
        assert left_out not in chosen


def test_only_binary_lines_of_the_release_are_taken() -> None:
    chosen = select_lines(LINES, "bookworm").splitlines()
    assert [line.split()[-3:] for line in chosen] == [
        ["bookworm", "main", "contrib"],
        ["http://two.example/debian", "bookworm-security", "main"],
    ]


def test_a_release_whose_name_only_begins_alike_is_another() -> None:
    assert select_lines("deb http://one.example/debian bookwormish main", "bookworm") == ""
