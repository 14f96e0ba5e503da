"""Writers, and the proof that a written file behaves as the preview said."""
