"""Attempts on a trained model: nearest neighbours, and both steps decided together.

RUN=FOLDER python splitner_jax/reproduce/attempts.py WORKDIR DATASET DATA
"""
import dataclasses, importlib, json, os, sys, itertools, collections
import numpy as np, scipy.special
sys.path.insert(0, os.getcwd())
from splitner_jax.inference import model_folder
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inference.ner_model import Predictor
from splitner_jax.experiment.corpus import load_corpus
from splitner_jax.runtime.compilation import use_compilation_cache
from splitner_jax.runtime import devices
from splitner_jax.data.sentences import ScoredSpan
from splitner_jax.evaluation.thresholds import MatchedPredictions, Thresholds
from splitner_jax.evaluation.calibration import expected_calibration_error
from splitner_jax.tasks.tokens import TokenTask
use_compilation_cache()
workdir, dataset, data_dir = sys.argv[1:4]
config = importlib.import_module(f"configs.{dataset}").get_config()
config.data.dir = data_dir
corpus = load_corpus(config.data)
limit = int(os.environ.get("LIMIT", "0"))
train, dev, test = corpus.train, corpus.dev, corpus.test
if limit: train, dev, test = train[:limit], dev[:limit], test[:limit]
model = model_folder.load(os.path.join(workdir, "model"), compute_dtype=os.environ.get("DTYPE", "auto"))
detector, classifier = model.tasks["detector"], model.tasks["classifier"]
result = {}
LEAST = [i / 40 for i in range(34)]
BIASES = [i / 2 for i in range(1, -9, -1)]

def f1(sentences, mentions):
  gold = [set(s.spans) for s in sentences]
  g = sum(map(len, gold)); p = sum(map(len, mentions))
  c = sum(m.span in gold[i] for i, row in enumerate(mentions) for m in row)
  return 200 * c / max(g + p, 1)

def best_least(sentences, mentions):
  m = MatchedPredictions.of(sentences, mentions)
  vals = [(m.counts(Thresholds(t)).f1, -t) for t in LEAST]
  f, t = max(vals)
  return f, -t
def at(sentences, mentions, t):
  kept = [[m for m in row if m.score >= t] for row in mentions]
  return f1(sentences, kept)
def ece(sentences, mentions, t):
  m = MatchedPredictions.of(sentences, [[x for x in row if x.score >= t] for row in mentions])
  return expected_calibration_error(m.scores, m.correct)

predictor = model.predictor(64)
T = model.decoding.temperature
# word logits
def word_logits(sentences):
  examples = predictor.encode(sentences)
  logits = predictor.forwards["detector"](examples)
  got = []
  original = TokenTask._spans
  TokenTask._spans = lambda self, l, b: (got.append(l.copy()), [])[1]
  try: detector.decode(examples, logits, sentences, 0.0)
  finally: TokenTask._spans = original
  assert len(got) == len(sentences)
  return got

WL = {"dev": word_logits(dev), "test": word_logits(test)}
S = {"dev": dev, "test": test}
scheme = detector.scheme
O, B, I, E = range(4)

def decoded(split, bias):
  return [detector._spans(l, bias) for l in WL[split]]

def enumerate_spans(l, most=12, floor=0.03, bias=0.0):
  l = l.copy(); l[:, 0] += bias
  lp = scipy.special.log_softmax(l.astype(np.float64), axis=-1)
  n = len(l); found = {}
  p = np.exp(lp)
  for s in range(n):
    if lp[s, B] < -5: continue
    run = lp[s, B]
    for e in range(s + 1, min(n, s + most) + 1):
      size = e - s
      if size == 1: total = lp[s, B]
      else:
        total = run + lp[e - 1, E]
        run += lp[e - 1, I]
      after = 0.0 if e == n else np.log(max(1 - p[e, I] - p[e, E], 1e-9))
      score = np.exp(total + after)
      if score > floor: found[s, e] = (score, float(np.exp(total / size)))
      if run < -6: break
  return found

EB = (0.0, -1.0, -2.0, -3.0)
ENUMS = {b: {k: [enumerate_spans(l, bias=b) for l in WL[k]] for k in S} for b in EB}
ENUM = ENUMS[0.0]
asked, rows, logits = {}, {}, {}
for k in S:
  asked[k] = []
  for i, s in enumerate(S[k]):
    spans = set().union(*(ENUMS[b][k][i] for b in EB))
    for b in BIASES:
      spans |= {(x.start, x.end) for x in detector._spans(WL[k][i], b)}
    spans |= {(x.start, x.end) for x in s.spans}
    asked[k].append([ScoredSpan(a, b, "", 1.0) for a, b in sorted(spans)])
  rows[k] = {}; n = 0
  for i, row in enumerate(asked[k]):
    for x in row: rows[k][i, x.start, x.end] = n; n += 1
D = 2 * classifier.model.encoder.hidden_size if classifier.model.pooling == "cls+span" else classifier.model.encoder.hidden_size
state_task = dataclasses.replace(classifier, model=classifier.model.clone(num_labels=D), labels=tuple(f"d{i}" for i in range(D)), none_class=False)
params = dict(devices.to_host(model.params["classifier"]))
W, b0 = np.asarray(params["classifier"]["kernel"], np.float32), np.asarray(params["classifier"]["bias"], np.float32)
state_params = {**params, "classifier": {"kernel": np.eye(D, dtype=np.float32), "bias": np.zeros(D, np.float32)}}
forward = Forward(Programs(state_task, 64), devices.replicate(state_params))
# Labels of weight only
def states(sentences, mentions):
  plain = [[x._replace(label="") if hasattr(x, "_replace") else x for x in r] for r in mentions]
  return state_task.logits(forward, sentences, plain)
H = {k: states(S[k], asked[k]) for k in S}
for k in S: logits[k] = H[k] @ W + b0
names = classifier.logit_names
C = len(classifier.labels)
number = {n: i for i, n in enumerate(classifier.labels)}

def named(k, spans, probs, soft_none=True):
  out = []
  for i, row in enumerate(spans):
    new = []
    for x in row:
      p = probs[rows[k][i, x.start, x.end]]
      j = int(p[:C].argmax()) if soft_none else int(p.argmax())
      if j < C: new.append(ScoredSpan(x.start, x.end, names[j], float(x.score * p[j])))
    out.append(new)
  return out
def on_gold(k, probs):
  good = n = 0
  for i, s in enumerate(S[k]):
    for x in s.spans:
      n += 1; good += names[int(probs[rows[k][i, x.start, x.end]].argmax())] == x.label
  return 100 * good / n
def tuned(name, probs, spans_of=None, soft_none=True):
  """Bias and least score by dev F1; test beside it."""
  spans_of = spans_of or decoded
  best = None
  for b in BIASES:
    mentions = named("dev", spans_of("dev", b), probs["dev"], soft_none)
    f, t = best_least(dev, mentions)
    if best is None or f > best[0]: best = (f, b, t)
  f, b, t = best
  mt = named("test", spans_of("test", b), probs["test"], soft_none)
  result[name] = dict(dev=f, bias=b, least=t, test=at(test, mt, t), ece=ece(test, mt, t), gold_dev=on_gold("dev", probs["dev"]), gold_test=on_gold("test", probs["test"]))
  print(name, result[name], flush=True)
  return best
base = {k: scipy.special.softmax(logits[k] / T, axis=-1) for k in S}
tuned("tuned", base, soft_none=len(names) == C)
if len(names) > C: tuned("none, soft", base)

# Neighbours
gold = [list(s.spans) for s in train]
HT = states(train, [[ScoredSpan(x.start, x.end, "", 1.0) for x in row] for row in gold])
LT = np.array([number.get(x.label, -1) for row in gold for x in row])
HT, LT = HT[LT >= 0], LT[LT >= 0]
def normal(x): return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)
def knn(k, neighbours, tau):
  sim = normal(H[k]) @ normal(HT).T
  idx = np.argpartition(-sim, neighbours, axis=1)[:, :neighbours]
  s = np.take_along_axis(sim, idx, 1)
  w = scipy.special.softmax(s / tau, axis=1)
  p = np.zeros((len(sim), len(names)))
  for c in range(C): p[:, c] = (w * (LT[idx] == c)).sum(1)
  return p
choice = None
for neighbours, tau in itertools.product((8, 32), (0.02, 0.1)):
  pk = {k: knn(k, neighbours, tau) for k in S}
  for lam in (0.1, 0.25, 0.5):
    mix = {k: (1 - lam) * base[k] + lam * pk[k] for k in S}
    found = tuned(f"knn {neighbours} {tau} {lam}", mix, soft_none=len(names) == C)
    if choice is None or found[0] > choice[0]: choice = (found[0], f"knn {neighbours} {tau} {lam}")
result["knn, best on dev"] = result[choice[1]] | {"which": choice[1]}

# Both steps together
def schedule(row, tau, log):
  """The non-overlapping spans of the greatest total worth."""
  row = sorted(row, key=lambda x: x.end)
  def worth(x):
    if not log: return x.score - tau
    s = min(max(x.score, 1e-6), 1 - 1e-6)
    return np.log(s / (1 - s)) - np.log(tau / (1 - tau))
  ends = [x.end for x in row]
  total = [0.0]; took = []
  import bisect
  for j, x in enumerate(row):
    before = bisect.bisect_right(ends, x.start, 0, j)
    w = total[before] + worth(x)
    took.append(w > total[-1]); total.append(max(total[-1], w))
  out = []; j = len(row)
  while j:
    if took[j - 1]:
      out.append(row[j - 1]); j = bisect.bisect_right(ends, row[j - 1].start, 0, j - 1)
    else: j -= 1
  return out[::-1]
for kind in (0, 1):
  for log in (False, True):
    best = None
    for bias in EB:
      mentions = named("dev", [[ScoredSpan(a, b, "", v[kind]) for (a, b), v in e.items()] for e in ENUMS[bias]["dev"]], base["dev"])
      for tau in [i / 40 for i in range(1, 34)]:
        f = f1(dev, [schedule(r, tau, log) for r in mentions])
        if best is None or f > best[0]: best = (f, tau, bias)
    mentions = named("test", [[ScoredSpan(a, b, "", v[kind]) for (a, b), v in e.items()] for e in ENUMS[best[2]]["test"]], base["test"])
    t = [schedule(r, best[1], log) for r in mentions]
    name = f"start-end {'product' if kind == 0 else 'mean'} {'odds' if log else 'sum'}"
    result[name] = dict(dev=best[0], tau=best[1], bias=best[2], test=f1(test, t), ece=ece(test, t, 0))
    print(name, result[name], flush=True)
# Two thresholds: the spans of all biases, each with its best score
for log in (False, True):
  spans = {k: [[] for _ in S[k]] for k in S}
  for k in S:
    for i, l in enumerate(WL[k]):
      seen = {}
      for b in BIASES:
        for x in detector._spans(l, b): seen.setdefault((x.start, x.end), ENUM[k][i].get((x.start, x.end), (0.01, 0.01))[0])
      spans[k][i] = [ScoredSpan(a, b, "", v) for (a, b), v in seen.items()]
  mentions = {k: named(k, spans[k], base[k]) for k in S}
  best = None
  for tau in [i / 40 for i in range(1, 34)]:
    f = f1(dev, [schedule(r, tau, log) for r in mentions["dev"]])
    if best is None or f > best[0]: best = (f, tau)
  t = [schedule(r, best[1], log) for r in mentions["test"]]
  result[f"n-best {'odds' if log else 'sum'}"] = dict(dev=best[0], tau=best[1], test=f1(test, t), ece=ece(test, t, 0))
result["report"] = {s: json.load(open(os.path.join(workdir, "report.json")))[s]["all_sentences"]["f1"] for s in ("dev", "test")} if os.path.exists(os.path.join(workdir, "report.json")) else None
json.dump(result, open(os.path.join(os.environ["RUN"], "result.json"), "w"), indent=1)
