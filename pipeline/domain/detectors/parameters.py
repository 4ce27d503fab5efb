"""Every parameter of every detector, by the detector's name, with its default.

A detector's own file says what its parameters mean. Times are in ms, money in micro-units, shares in percent or
thousandths: whole numbers all of them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.domain.detectors.call_velocity import Parameters as CallVelocityParameters
from pipeline.domain.detectors.concurrent_calls import Parameters as ConcurrentCallsParameters
from pipeline.domain.detectors.implausible import Parameters as ImplausibleParameters
from pipeline.domain.detectors.impossible_travel import Parameters as ImpossibleTravelParameters
from pipeline.domain.detectors.irsf import Parameters as IrsfParameters
from pipeline.domain.detectors.long_call import Parameters as LongCallParameters
from pipeline.domain.detectors.new_device import Parameters as NewDeviceParameters
from pipeline.domain.detectors.sequence import Parameters as SequenceParameters
from pipeline.domain.detectors.share import LateParameters, RejectedParameters
from pipeline.domain.detectors.silent_source import Parameters as SilentSourceParameters
from pipeline.domain.detectors.sim_box import Parameters as SimBoxParameters
from pipeline.domain.detectors.sms_flood import Parameters as SmsFloodParameters
from pipeline.domain.detectors.spending import BaselineParameters, LeakParameters, RoamingParameters
from pipeline.domain.detectors.traffic_season import Parameters as TrafficSeasonParameters
from pipeline.domain.detectors.wangiri import Parameters as WangiriParameters


class DetectorParameters(NamedTuple):
    """What operators may set, one group a detector."""

    call_velocity: CallVelocityParameters = CallVelocityParameters()
    concurrent_calls: ConcurrentCallsParameters = ConcurrentCallsParameters()
    long_call: LongCallParameters = LongCallParameters()
    irsf: IrsfParameters = IrsfParameters()
    wangiri: WangiriParameters = WangiriParameters()
    sim_box: SimBoxParameters = SimBoxParameters()
    sms_flood: SmsFloodParameters = SmsFloodParameters()
    impossible_travel: ImpossibleTravelParameters = ImpossibleTravelParameters()
    new_device: NewDeviceParameters = NewDeviceParameters()
    spend_baseline: BaselineParameters = BaselineParameters()
    roaming_cap: RoamingParameters = RoamingParameters()
    zero_rated_leak: LeakParameters = LeakParameters()
    sequence: SequenceParameters = SequenceParameters()
    late_share: LateParameters = LateParameters()
    rejected_share: RejectedParameters = RejectedParameters()
    silent_source: SilentSourceParameters = SilentSourceParameters()
    implausible: ImplausibleParameters = ImplausibleParameters()
    traffic_season: TrafficSeasonParameters = TrafficSeasonParameters()


def with_values(groups: Mapping[str, Mapping[str, Any]]) -> DetectorParameters:
    """Return the defaults with these values in their place, by group and name.

    Raises ValueError, naming it, for a group or a name that does not exist or a value that is no whole number >= 0.
    """
    found = DetectorParameters()
    for name, values in groups.items():
        if name not in DetectorParameters._fields:
            raise ValueError(f"there is no detector {name!r}; there are {', '.join(DetectorParameters._fields)}")
        group = getattr(found, name)
        for key, value in values.items():
            if key not in group._fields:
                raise ValueError(f"{name} has no parameter {key!r}; it has {', '.join(group._fields)}")
            if type(value) is not int or value < 0:
                raise ValueError(f"{name}.{key} is a whole number from 0, not {value!r}")
        found = found._replace(**{name: group._replace(**values)})
    return found
