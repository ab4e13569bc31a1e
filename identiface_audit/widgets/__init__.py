"""The viewers of a finished audit, one a stage, and the application that links them. None of them needs TensorFlow or MediaPipe."""

from .app import AuditApp
from .bias_viewer import BiasViewer
from .faces_viewer import FacesViewer
from .grid import FaceGrid
from .predictions_viewer import PredictionsViewer
from .regions_viewer import RegionsViewer
from .saliency_viewer import SaliencyViewer
from .validity_viewer import ValidityViewer

__all__ = [
    "AuditApp",
    "BiasViewer",
    "FaceGrid",
    "FacesViewer",
    "PredictionsViewer",
    "RegionsViewer",
    "SaliencyViewer",
    "ValidityViewer",
]
