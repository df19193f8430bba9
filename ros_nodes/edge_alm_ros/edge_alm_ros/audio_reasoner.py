"""The lifecycle node: listens while it is active, answers while it is configured.

    executor: transitions, ~/ask, ~/listen_and_answer, diagnostics   (short, or awaiting)
    source -> the runtime's own threads -> listener thread -> ~/events, ~/speech
    questions -> a thread each -> the language model's thread

Configuring loads and verifies the models; activating opens the source.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from edge_alm_msgs.action import ListenAndAnswer
from edge_alm_msgs.msg import AudioEvent
from edge_alm_msgs.srv import AskAudio
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from std_msgs.msg import Bool, String

from edge_alm.audio.ros import RosTopic
from edge_alm.audio.source import open_source
from edge_alm.errors import EdgeAlmError, UsageError
from edge_alm.reasoning.reasoner import QuestionCancelledError
from edge_alm.runtime import Ears, load
from edge_alm.types import Event, Source, Speech, without_words
from edge_alm.workers import closed
from edge_alm_ros.conversions import (
    Origin,
    answer_fields,
    audioset_ids,
    event_fields,
    fill,
    refusal_fields,
    stamp_fields,
    unix_from_stamp,
)
from edge_alm_ros.diagnostics import Gauge
from edge_alm_ros.meter import Meter
from edge_alm_ros.parameters import ACTIVE, CONFIGURED, PARAMETERS, Parameter, problem

T = TypeVar("T")

QUESTIONS_AT_ONCE = 16
"""The language model answers one after the other; those who wait cost a thread each."""
LONGEST_S = 3600.0
"""For which a goal may go on."""
STOP_S = 5.0
"""What is being transcribed when listening stops may take so long."""
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class AudioReasoner(LifecycleNode):
    """See the module."""

    def __init__(self, **options: Any) -> None:
        super().__init__("audio_reasoner", **options)
        self._ears: Ears | None = None
        self._ids: dict[str, str] = {}
        self._meter: Meter | None = None
        """Of the stream under way, or the last one."""
        self._began_unix = 0.0
        self._listener: threading.Thread | None = None
        self._failure = ""
        self._told = 0
        """Events published since the start."""
        self._news = threading.Condition()
        self._askers = ThreadPoolExecutor(QUESTIONS_AT_ONCE, thread_name_prefix="asker")
        self.add_on_set_parameters_callback(self._check)
        for parameter in PARAMETERS:
            self.declare_parameter(parameter.name, parameter.default, _descriptor(parameter))
        self._events = self.create_lifecycle_publisher(
            AudioEvent, "~/events", QoSProfile(depth=100)
        )
        self._speech = self.create_lifecycle_publisher(String, "~/speech", QoSProfile(depth=10))
        self._listening = self.create_publisher(Bool, "~/listening", _LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._gauge = Gauge(self.get_fully_qualified_name())
        # Whoever waits for an answer must not keep the others, or a cancellation, waiting.
        together = ReentrantCallbackGroup()
        self._ask = self.create_service(AskAudio, "~/ask", self._on_ask, callback_group=together)
        self._goals = ActionServer(
            self,
            ListenAndAnswer,
            "~/listen_and_answer",
            self._on_goal,
            callback_group=together,
            goal_callback=self._on_request,
            cancel_callback=lambda _goal: CancelResponse.ACCEPT,
        )
        self._timer = self.create_timer(
            self.value("diagnostics.period_s"), self._on_tick, callback_group=together
        )
        self._tell_listening(False)

    def value(self, name: str) -> Any:
        """Of a parameter."""
        return self.get_parameter(name).value

    # Transitions

    def on_configure(self, state: Any) -> TransitionCallbackReturn:
        """Load all models and wait until they are there."""
        wanted = self.value("models.language_model")
        ears: Ears | None = None
        try:
            ears = load(
                self.value("models.bundle"),
                llm={"bundle": True, "none": False}.get(wanted, wanted),
                transcribe=self.value("models.transcribe"),
            )
            ears.prepare()
            self._ids = audioset_ids(ears.bundle)
        except Exception as error:
            if ears is not None:
                ears.close()
            return self._fail("configure", error)
        self._ears = ears
        return super().on_configure(state)

    def on_activate(self, state: Any) -> TransitionCallbackReturn:
        """Open the source and listen."""
        source: Source | None = None
        try:
            if self._ears is None:
                raise closed()
            source = self._open_source()
            meter = Meter(source)
            phrases = [phrase for phrase in self.value("watch.phrases") if phrase.strip()]
            events = self._ears.listen(meter, watch=phrases, realtime=self.value("input.realtime"))
        except Exception as error:
            if source is not None:
                source.close()
            return self._fail("activate", error)
        self._meter, self._began_unix, self._failure = meter, self._now_unix(), ""
        done = super().on_activate(state)
        self._listener = threading.Thread(
            target=self._listen, args=(events, meter), name="listener", daemon=True
        )
        self._tell_listening(True)
        self._listener.start()
        return done

    def on_deactivate(self, state: Any) -> TransitionCallbackReturn:
        """Close the source; what was under way is still told."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: Any) -> TransitionCallbackReturn:
        """Free everything."""
        self.free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: Any) -> TransitionCallbackReturn:
        """Stop and free everything."""
        self.free()
        return super().on_shutdown(state)

    def on_error(self, state: Any) -> TransitionCallbackReturn:
        """Free everything; the node can be configured again."""
        self.free()
        return TransitionCallbackReturn.SUCCESS

    def free(self) -> None:
        """Stop listening, give up questions, free the models. Idempotent."""
        self._stop()
        ears, self._ears, self._meter, self._ids = self._ears, None, None, {}
        if ears is not None:
            ears.close()
        with self._news:
            self._news.notify_all()

    def _fail(self, what: str, error: Exception) -> TransitionCallbackReturn:
        told = str(error) if isinstance(error, EdgeAlmError) else f"{type(error).__name__}: {error}"
        self.get_logger().error(f"cannot {what}: {told}")
        return TransitionCallbackReturn.FAILURE

    def _open_source(self) -> Source:
        spec: str = self.value("input.source")
        if not spec.startswith("ros:"):
            return open_source(
                spec, realtime=self.value("input.realtime"), backend=self.value("input.backend")
            )
        return RosTopic(
            self.resolve_topic_name(spec.removeprefix("ros:")),
            self.value("input.message"),
            self.value("input.queue_s"),
            self.context,
        )

    def _stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        if self._meter is not None:
            self._meter.close()
        listener.join(STOP_S)
        if listener.is_alive():
            self.get_logger().warning(f"the source has not stopped within {STOP_S:g} s")

    # What is heard; on the listener's thread

    def _listen(self, events: Iterator[Event], meter: Meter) -> None:
        try:
            for event in events:
                self._publish(event, meter)
        except Exception as error:
            self._failure = str(error)
        if self.context.ok():  # it is not when the process is told to end
            if self._failure:
                self.get_logger().error(f"listening: {self._failure}")
            self._tell_listening(False)

    def _publish(self, event: Event, meter: Meter) -> None:
        ears = self._ears
        if ears is None:
            return
        origin = Origin(
            stream_id=self.value("output.stream_id") or meter.name,
            frame_id=self.value("output.frame_id"),
            started_unix=self._started_unix(meter),
            bundle_id=ears.bundle.name,
            bundle_hash=ears.bundle.sha256,
        )
        meter.note(event)
        shown = without_words(event) if self.value("output.redact_speech") else event
        fields = event_fields(shown, origin, self._now_unix(), self._ids)
        self._events.publish(fill(AudioEvent(), fields))
        if isinstance(shown, Speech) and shown.text:
            self._speech.publish(String(data=shown.text))
        with self._news:
            self._told += 1
            self._news.notify_all()

    def _started_unix(self, meter: Meter) -> float:
        """Wall clock of sample 0; a file is taken as heard when it was begun."""
        return self._began_unix if meter.started_unix is None else meter.started_unix

    def _tell_listening(self, listening: bool) -> None:
        self._listening.publish(Bool(data=listening))

    def _now_unix(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9

    # Questions

    async def _elsewhere(self, work: Callable[[], T]) -> T:
        """Run ``work`` on another thread while the executor goes on."""
        done = Future(executor=self.executor)
        done.add_done_callback(_wake)

        def run() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self._askers.submit(run)
        found: T = await done
        return found

    async def _on_ask(self, request: Any, response: Any) -> Any:
        def answer() -> dict[str, Any]:
            ears = self._configured()
            since_s = self._since_s(request.last_s, unix_from_stamp(request.since))
            choices = list(request.choices) or None
            return answer_fields(ears.ask(request.question, choices=choices, since_s=since_s))

        try:
            return fill(response, await self._elsewhere(answer))
        except Exception as error:
            return fill(response, self._refusal(error))

    def _on_request(self, _request: Any) -> GoalResponse:
        return GoalResponse.REJECT if self._ears is None else GoalResponse.ACCEPT

    async def _on_goal(self, goal: Any) -> Any:
        try:
            fields = await self._elsewhere(lambda: self._keep_answering(goal))
            goal.succeed()
        except Exception as error:
            fields = self._refusal(error)
            # A cleanup gives questions up too.
            if goal.is_cancel_requested:
                goal.canceled()
            else:
                goal.abort()
        return fill(ListenAndAnswer.Result(), fields)

    def _refusal(self, error: Exception) -> dict[str, Any]:
        if not isinstance(error, EdgeAlmError):  # a bug must not end the node, nor go unseen
            self.get_logger().error(f"a question failed: {type(error).__name__}: {error}")
        return refusal_fields(str(error))

    def _keep_answering(self, goal: Any) -> dict[str, Any]:
        """Answer at once, and anew after each event until the time is over: the last answer."""
        request = goal.request
        ears, meter = self._configured(), self._meter
        _check_seconds("listen_s", request.listen_s, LONGEST_S)
        until_s = time.monotonic() + request.listen_s
        since_s = meter.position_s if request.only_new and meter is not None else None
        answers = 0
        while True:
            answers += 1
            told, text = self._told, ""

            def tell(piece: str, number: int = answers) -> None:
                nonlocal text
                text += piece
                goal.publish_feedback(ListenAndAnswer.Feedback(answers=number, text=text))

            answer = ears.ask(
                request.question,
                choices=list(request.choices) or None,
                since_s=since_s,
                on_text=tell,
                cancelled=lambda: goal.is_cancel_requested,
            )
            goal.publish_feedback(
                ListenAndAnswer.Feedback(answers=answers, text=answer.text, complete=True)
            )
            if not self._await_news(told, until_s, goal, ears):
                return {**answer_fields(answer), "answers": answers}

    def _await_news(self, told: int, until_s: float, goal: Any, ears: Ears) -> bool:
        """Whether something was told since there were ``told`` events, before the time is over."""
        with self._news:
            while self._told == told:
                if goal.is_cancel_requested:
                    raise QuestionCancelledError("goal", got="cancelled between two answers")
                if self._ears is not ears:
                    raise closed()
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._news.wait(min(left_s, 0.1))  # how soon a cancellation is seen
        return time.monotonic() < until_s

    def _configured(self) -> Ears:
        if self._ears is None:
            raise UsageError(
                "audio_reasoner",
                expected="a configured node",
                got="one without models",
                hint=f"ros2 lifecycle set {self.get_fully_qualified_name()} configure",
            )
        return self._ears

    def _since_s(self, last_s: float, since_unix: float) -> float | None:
        """The later of the two limits on the stream's clock; None where there is none."""
        _check_seconds("last_s", last_s, math.inf)
        meter = self._meter
        if meter is None or not (last_s or since_unix):
            return None
        ago_s = meter.position_s - last_s if last_s else -math.inf
        return max(ago_s, since_unix - self._started_unix(meter) if since_unix else -math.inf)

    # Parameters and diagnostics

    def _check(self, parameters: list[Any]) -> SetParametersResult:
        state = "" if self._ears is None else CONFIGURED if self._listener is None else ACTIVE
        reason = problem({parameter.name: parameter.value for parameter in parameters}, state)
        return SetParametersResult(successful=not reason, reason=reason)

    def _on_tick(self) -> None:
        period_ns = round(self.value("diagnostics.period_s") * 1e9)
        if self._timer.timer_period_ns != period_ns:
            self._timer.timer_period_ns = period_ns
        status = self._gauge.read(
            meter=self._meter if self._listener is not None else None,
            told=self._told,
            backlog=self._ears.backlog if self._ears is not None else 0,
            failure=self._failure,
            now_s=time.monotonic(),
        )
        message = DiagnosticArray(status=[status])
        fill(message, {"header": {"stamp": stamp_fields(self._now_unix())}})
        self._diagnostics.publish(message)


def _check_seconds(name: str, seconds: float, at_most: float) -> None:
    if not 0 <= seconds <= at_most:
        expected = "0 or more seconds" if at_most == math.inf else f"0 to {at_most:g} seconds"
        raise UsageError(name, expected=expected, got=f"{seconds:g}")


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    described = ParameterDescriptor(description=parameter.description)
    if parameter.at_most:
        low, high = parameter.at_least, parameter.at_most
        described.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    if parameter.choices:
        described.additional_constraints = " or ".join(parameter.choices)
    return described


def _wake(_done: Any) -> None:
    """For the executor to run: a task that awaits a future is looked at when something is run."""


def main(args: list[str] | None = None) -> None:
    """Run the node until it is shut down."""
    rclpy.init(args=args)
    try:
        node = AudioReasoner()
    except ParameterException as error:
        print(f"audio_reasoner: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        raise SystemExit(2) from None
    try:
        if node.value("autostart") and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            node.trigger_activate()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.free()
        node.destroy_node()
        rclpy.try_shutdown()
    if threading.active_count() > 1:
        # What is in mid-work in native code would not survive an ordinary exit.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
