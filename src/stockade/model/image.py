"""Machine images: what an instance is started from."""

from dataclasses import dataclass

from stockade.model.ids import AccountId, ImageId


@dataclass(frozen=True, slots=True)
class Image:
    """An AMI of the catalogue. `recipe` names what the host builds or holds: micro, base, web, app, database."""

    id: ImageId
    owner: AccountId
    name: str
    location: str
    recipe: str
    description: str = ""
    is_public: bool = True
    architecture: str = "x86_64"
