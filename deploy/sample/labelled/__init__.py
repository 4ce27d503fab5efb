"""Labelled traffic: a mobile operator's two weeks, with what is abnormal in it written down beside.

It shares no constant with the detectors, and imports nothing of theirs.
"""
