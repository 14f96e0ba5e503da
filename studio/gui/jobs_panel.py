"""Background jobs: what runs, how far it is, and a button to cancel it."""

from PySide6.QtWidgets import QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from studio.gui.labels import ElidedLabel, label, set_tone
from studio.gui.progress_bar import ProgressBar
from studio.gui.text import duration_text
from studio.progress import Progress
from studio.session.jobs import Job, Jobs, JobState

_STATES = {
    JobState.PAUSING: "pausing",
    JobState.PAUSED: "paused",
    JobState.RUNNING: "running",
    JobState.DONE: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
_TONES = {JobState.DONE: "good", JobState.FAILED: "bad"}

_NOT_BEGUN = Progress(0, 1, "")


class JobRow(QWidget):
    """One job."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        super().__init__()
        self.job = job
        self._title = ElidedLabel(job.title)
        self._bar = ProgressBar(f"Progress of {job.title}")
        self._bar.setFixedWidth(180)
        self._state = ElidedLabel(role="detail")
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop this job; the project stays as it is")
        self.cancel.clicked.connect(lambda: jobs.cancel(job))
        self.pause = QPushButton("Pause")
        self.pause.clicked.connect(lambda: _next(jobs, job))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 2)
        layout.setSpacing(12)
        layout.addWidget(self._title, 2)
        layout.addWidget(self._bar)
        layout.addWidget(self._state, 3)
        layout.addWidget(self.pause)
        layout.addWidget(self.cancel)
        self.show_job()

    def show_job(self) -> None:
        """Shows the job as it is now."""
        job = self.job
        active = job.is_running or job.can_resume
        again = "Go on with the samples of a step in smaller parts, which takes less memory and gives the same step"
        self.cancel.setVisible(active)
        self._bar.setVisible(active)
        self.pause.setText("Resume" if job.can_resume else "Try smaller" if job.can_retry else "Pause")
        self.pause.setVisible(job.can_pause or job.can_resume or job.can_retry)
        go_on = "Go on where it was paused" if job.can_resume else "Stop this job so that it can go on later"
        self.pause.setToolTip(again if job.can_retry else go_on)
        self._bar.show_progress(job.progress if job.progress or job.is_running else _NOT_BEGUN)
        self._state.setText(job_text(job))
        set_tone(self._state, _TONES.get(job.state, ""))


class JobsPanel(QScrollArea):
    """Jobs of a session, the newest first: those of the open model, and of others what still runs or can go on."""

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self._jobs = jobs
        self.rows: dict[int, JobRow] = {}
        self._empty = label(
            "Searches, scans, distillations and exports run in the background and are listed here.", "detail", wrap=True
        )
        page = QWidget()
        self._layout = QVBoxLayout(page)
        self._layout.setContentsMargins(8, 8, 8, 8)
        self._layout.addWidget(self._empty)
        self._layout.addStretch(1)
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setAccessibleName("Background jobs")
        jobs.added.connect(self._add)
        jobs.changed.connect(self._show)

    def forget_ended(self) -> None:
        """Takes what is over from the list: another model is open."""
        for number, row in list(self.rows.items()):
            if not (row.job.is_running or row.job.can_resume or row.job.can_retry):
                self._layout.removeWidget(self.rows.pop(number))
                row.deleteLater()
        self._empty.setVisible(not self.rows)

    def _add(self, job: Job) -> None:
        self._empty.hide()
        self.rows[job.id] = JobRow(self._jobs, job)
        self._layout.insertWidget(0, self.rows[job.id])

    def _show(self, job: Job) -> None:
        if job.id in self.rows:
            self.rows[job.id].show_job()


def _next(jobs: Jobs, job: Job) -> None:
    """What the button of a job does in its state."""
    if job.can_retry:
        jobs.retry(job)
    elif job.can_resume:
        jobs.resume(job)
    else:
        jobs.pause(job)


def job_text(job: Job) -> str:
    """State, step and time left of a job in one line."""
    if job.error:
        return job.error
    if job.can_resume and job.points:
        return f"paused at step {job.points[-1].step:,} of {job.points[-1].total_steps:,}"
    if job.state is not JobState.RUNNING:
        return _STATES[job.state]
    going = "getting ready" if job.progress is None and not job.points else _STATES[job.state]
    parts = [job.progress.message] if job.progress and job.progress.message else [going]
    left = job.seconds_left
    if left is not None:
        parts.append(f"about {duration_text(left)} left")
    return "  ·  ".join(parts)
