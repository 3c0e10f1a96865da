"""Settings of a process: flags stand over the environment, the environment over a file; one name in all three."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

PREFIX: Final = "CARBONFLEET_"
INTERNAL: Final = {"internal": True}
"""For `json_schema_extra`: a field that is no flag."""


class Settings(BaseSettings):
    """A process's settings. `fleet_url` is `--fleet-url`, `CARBONFLEET_FLEET_URL`, and `fleet-url:` in the file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        populate_by_name=True,
    )

    @classmethod
    def load(cls, flags: Mapping[str, Any], file: Path | None = None) -> Self:
        """Settings from all three.

        Raises FileInvalid for a file that can't be read as settings, OSError, and pydantic's ValidationError.
        """
        return cls.model_validate({**_in_file(file), **EnvSettingsSource(cls)(), **flags})


def _in_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    from carbonfleet.yaml_reader import read_document

    document = read_document(str(file), file.read_bytes())
    if not isinstance(document.data, dict):
        raise ValueError(
            f"{file} holds no settings: write NAME: VALUE, such as fleet-url: https://git.example.org/fleet"
        )
    return {str(name).replace("-", "_"): value for name, value in document.data.items()}
