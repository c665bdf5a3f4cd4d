"""Hydra's callback that looks at the folder of a run before Hydra makes it."""

import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from restore import errors, folder


class Place(Callback):
    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            HydraConfig.instance().set_config(config)  # the default place is named after it
            folder.make(str(config.hydra.run.dir))
        except Exception as error:  # Hydra would make a warning of it
            sys.exit(errors.explain(error))
