"""A search on Weights & Biases, for those who are logged in: a run per trial, in a group per search."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

from mouse_facelift.evaluation.trials import Trial
from training.wandb_log import start_tracker
from tune.plan import Plan


class SearchTracker:
    """Sends trials that ended, one after the other, while the search goes on."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wandb")

    def __call__(self, trial: Trial) -> None:
        """Take a trial that ended."""
        if self.plan.settings.wandb != "disabled":
            self.sender.submit(self._send, trial)

    def finish(self) -> None:
        """Wait until all are sent."""
        self.sender.shutdown()

    def _send(self, trial: Trial) -> None:
        settings, orders = self.plan.settings, self.plan.orders
        config = orders.trial_config(trial.trial_id, dict(trial.overrides), trial.seed)
        if not config.out.is_dir():
            return
        tracker = start_tracker(dataclasses.replace(config, wandb=settings.wandb), group=settings.out.name)
        if tracker is None:
            return
        for point in trial.curve:
            # By samples seen, as trials are compared; batch sizes may differ.
            tracker.send({"event": "trial", "step": point.samples_seen, "seconds": point.seconds, **point.scores})
        tracker.finish()
