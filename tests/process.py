"""What tests start a process with."""

import os


def environment_with(**settings: str) -> dict[str, str]:
    """This process's environment with these settings of Prejoin, and no others: `GROUP` for `PREJOIN_GROUP`."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PREJOIN_")}
    return others | {f"PREJOIN_{name}": value for name, value in settings.items()}
