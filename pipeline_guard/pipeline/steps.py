"""Runs the steps of the analysis in order and turns what they found into the nouns of the model."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from pipeline_guard import leaving
from pipeline_guard.facts.remarks import read_remarks
from pipeline_guard.facts.store import FactStore
from pipeline_guard.pipeline.answers import AnswerFinder, AnswerReader
from pipeline_guard.pipeline.apps import Apps
from pipeline_guard.pipeline.assemble import Assembler
from pipeline_guard.pipeline.chains import Chains
from pipeline_guard.pipeline.declared import unmet_declarations
from pipeline_guard.pipeline.engines import EngineFinder
from pipeline_guard.pipeline.evidence import ENGINE_KINDS, SIDE_KINDS, Evidence
from pipeline_guard.pipeline.grouping import Group
from pipeline_guard.pipeline.model import QUIET_CONTEXTS, Coverage, Gap, Lane, PipelineMap, Site
from pipeline_guard.pipeline.queues import QueueIndex
from pipeline_guard.pipeline.sessions import SessionReader
from pipeline_guard.pipeline.sinks import SinkFinder
from pipeline_guard.pipeline.transcribers import transcribers
from pipeline_guard.pipeline.twiml import TwimlFinder
from pipeline_guard.program.calls import CallGraph
from pipeline_guard.program.evaluate import Evaluator
from pipeline_guard.program.flow import Flags
from pipeline_guard.program.link import package_of
from pipeline_guard.program.load import UNFOLLOWED, Loader
from pipeline_guard.program.reach import Reachability
from pipeline_guard.rulebook import rules_dir
from pipeline_guard.vocabulary import load as load_vocabulary

if TYPE_CHECKING:
    from pipeline_guard.discovery import SourceFile
    from pipeline_guard.pipeline.build import OnLoad, Reading
    from pipeline_guard.pipeline.hops import Hop
    from pipeline_guard.pipeline.primitives import Sink


def run(reading: Reading, store: FactStore, on_load: OnLoad | None = None) -> PipelineMap:
    """Return the pipeline map of a program, reading everything that can matter in depth.

    ``on_load`` gets what loaded the program: in the end it knows what was asked of the files.
    """
    enabled = gc.isenabled()
    gc.disable()  # millions of small nodes that live to the end: collecting costs a third of the time
    try:
        return _analyse(reading, store, on_load)
    finally:
        if leaving.keeps():
            gc.freeze()  # what lives to the end need not be looked through on the way there
        if enabled:
            gc.enable()


def _analyse(reading: Reading, store: FactStore, on_load: OnLoad | None) -> PipelineMap:
    root, files, sources, config, progress, documents = reading
    vocabulary = load_vocabulary(config, rules_dir() / "vocabulary", store.cache)
    loader = Loader(files, sources, vocabulary, store, progress, package_of(root.resolve()))
    program = loader.load()
    if on_load is not None:
        on_load(loader, program)
    remarks = read_remarks(loader.mounting.data)
    if not loader.seeds:
        coverage = Coverage(discovered=len(files), analysed=0, set_aside=len(files) - len(loader.gaps))
        gaps = (*loader.gaps, *unmet_declarations((), loader.files, (), config, Apps(config, root), root))
        return PipelineMap(root=str(root), lanes=(), gaps=gaps, coverage=coverage, remarks=remarks)
    if progress is not None:
        progress("linking", 0, 1)
    evaluator = Evaluator(program)
    graph = CallGraph(program, evaluator, loader.hot.names, vocabulary.events, loader.hot.factories)
    graph.build()
    leaving.keep(graph)
    queues = QueueIndex(graph, evaluator)
    queues.build()
    finder = SinkFinder(graph, vocabulary, queues)
    own_sinks, engine_sinks = finder.run(), EngineFinder(graph, vocabulary, finder.transports).run()
    engine_calls = {id(sink.call) for sink in engine_sinks}
    # What is sent to a recogniser is a site of that engine, not one more speech-to-speech service.
    sinks = [sink for sink in own_sinks if sink.provider == "openai" or id(sink.call) not in engine_calls]
    sinks += [*engine_sinks, *transcribers(own_sinks)]
    mounting = loader.mounting
    flags = Flags(evaluator, loader.is_named_outside)
    reach = Reachability(graph, flags, vocabulary, mounting.is_loaded, mounting.is_named)
    reach.find_entries()
    chains = Chains(graph, reach, queues, vocabulary, finder.relays.functions)
    hops = chains.build(sinks)
    chains.wake_writers()
    reach.spread()  # after the chains: following them resolves calls that nothing had asked for before
    configs = SessionReader(graph, vocabulary).read(sinks)
    apps = Apps(config, root)
    assembler = Assembler(graph, reach, chains, queues, vocabulary, apps, finder.relays.functions)
    apart = ENGINE_KINDS | SIDE_KINDS  # a cancel or a commit makes no lane and is no site: it is read beside the others
    members = assembler.lanes([hop for hop in hops if hop.kind not in apart], configs)
    if any(_runs(lane, group, assembler.evidence) for lane, group in members):
        from pipeline_guard.pipeline.hygiene.reader import HygieneReader

        hygiene = HygieneReader(graph, reach, queues, assembler.evidence, vocabulary, mounting.data)
        members = hygiene.read(members, [hop for hop in hops if hop.kind in SIDE_KINDS])
    lanes, outside = _with_other_speech(members, hops, sinks, assembler, finder, loader, documents)
    unmet = unmet_declarations(lanes, loader.files, program.modules.values(), config, apps, root)
    gaps = (*loader.gaps, *assembler.gaps, *unmet)
    answered = AnswerFinder(graph, vocabulary, finder.transports).run()
    responses = [hop for hop in hops if hop.kind == "response_create"]
    answers = AnswerReader(graph, reach, queues, vocabulary, apps).read(answered, responses)
    return PipelineMap(
        root=str(root), lanes=lanes, outside=_as_far_as_followed(outside, gaps), gaps=gaps,
        coverage=_coverage(len(files), len(program.modules), loader.gaps), remarks=remarks, answers=answers,
    )  # fmt: skip


def _with_other_speech(
    members: list[tuple[Lane, Group]],
    hops: Sequence[Hop],
    sinks: Sequence[Sink],
    assembler: Assembler,
    finder: SinkFinder,
    loader: Loader,
    documents: Sequence[SourceFile],
) -> tuple[tuple[Lane, ...], tuple[Site, ...]]:
    """Return the lanes with the engines and TwiML verbs that belong to them, and those that belong to none."""
    graph, reach, vocabulary = assembler.graph, assembler.reach, assembler.vocabulary
    engines = [hop for hop in hops if hop.kind in ENGINE_KINDS]
    verbs = TwimlFinder(graph, vocabulary).run()
    if not (engines or verbs or documents):
        return tuple(lane for lane, _ in members), ()
    from pipeline_guard.pipeline.beside import Beside
    from pipeline_guard.pipeline.transcripts import TranscriptReader
    from pipeline_guard.pipeline.twiml_files import TwimlFiles

    realtime = [hop for hop in hops if hop.kind in ("audio_send", "response_create")]
    transcripts = TranscriptReader(
        graph, reach, finder.queues, vocabulary,
        frozenset(hop.func for hop in realtime if not hop.top or hop.sink is not None),
        frozenset(id(sink.call) for sink in sinks if sink.kind not in ENGINE_KINDS), finder.transports,
    )  # fmt: skip
    beside = Beside(graph, reach, assembler.evidence, transcripts, loader.is_marked_offline)
    return beside.attach(members, engines, verbs, TwimlFiles(documents, graph.program, assembler.evidence, vocabulary))


def _runs(lane: Lane, group: Group, evidence: Evidence) -> bool:
    """Say whether a Realtime lane runs: of one that does not, nobody asks how it treats the protocol."""
    return lane.provider == "openai" and any(evidence.context(hop) not in QUIET_CONTEXTS for hop in group.hops)


def _coverage(discovered: int, analysed: int, gaps: Sequence[Gap]) -> Coverage:
    unread = {gap.path for gap in gaps if gap.reason != UNFOLLOWED}
    return Coverage(discovered=discovered, analysed=analysed, set_aside=discovered - analysed - len(unread))


def _as_far_as_followed(outside: tuple[Site, ...], gaps: Sequence[Gap]) -> tuple[Site, ...]:
    """Call no place dormant where nobody looked for who calls it."""
    if not any(gap.reason == UNFOLLOWED for gap in gaps):
        return outside
    return tuple(
        msgspec.structs.replace(site, context="unknown") if site.context == "dormant" else site for site in outside
    )
