"""What the times of a workflow follow from: parts, floors, replay, prediction, advice."""
