"""The learner on the device: it predicts, learns by steps or from statistics, and forgets."""
