// Values -> kernel integral over a tensor-product grid -> projection -> GELU -> second projection.
//
// Layouts: u (b, x, rest, c); values (b, x, h, rest, d); partial, contracted with all axes but the
// first, (b, h, panel of (rest, d), x, PANEL) with `apart` numbers from panel to panel: so are the
// panels of B in the product with the first axis's kernels. results (b, x, rest, h, d) with `slab`
// numbers per x. Widths are multiples of PANEL.
//
// In parallel, the values are contracted with each axis's kernel alone: partial holds the values
// themselves, and results (b, x, rest, h, part, d) one part per axis, the first axis's in front.
#pragma once

#include "memory.h"
#include "pointwise.h"
#include "product.h"

struct Mixing {
  long batch, first, rest, channels, heads, width, out, rank;  // rank: axes but the first
  long axes[8];                                                // their lengths
  long parts;                                                  // per head: 1, or one per axis
  long apart, slab;
  int threads, stream;
  bool parallel() const { return parts > 1; }
  long features() const { return heads * width; }            // of the values
  long results() const { return heads * parts * width; }     // of the results
  long head() const { return rest * width; }  // numbers of one head at one x
};

INLINE Panels rows_of(float* p, long row) { return Panels{p, row, PANEL, 0}; }
INLINE Panels rows_of(const float* p, long row) { return rows_of((float*)p, row); }

static const long BLOCK = 4;     // indices of the first axis, whose kernels then stay in the cache
static const long INNER = 256;   // of an inner dimension: a panel of B fits the first cache
static const long TILE = 128;    // rows of a block of points

// y = kernel x along one axis; x (before, n, after), y with rows and panels as given
INLINE void contract(long n, long before, long after, const Left& kernel, const float* x,
                     const Panels& y, long y_before, const Finish& f = Finish{}) {
  for (long i = 0; i < before; i++) {
    Panels target = y;
    target.p += i * y_before;
    product(Size{n, after, n, 1}, kernel, rows_of(x + i * n * after, after), target, Start{},
            f);
  }
}

// All axes but the first of one head at one x: v (rest, d) -> its place in partial.
static void contract_others(const Mixing& m, const float* const* kernels, long bh, const float* v,
                            float* spare[2], float* partial) {
  long after = m.width;
  for (long axis = m.rank - 1; axis >= 0; axis--) {
    const long n = m.axes[axis], before = m.head() / (n * after);
    const Left kernel{kernels[axis] + bh * n * n, n, 1, 0};
    const long panels = after / PANEL;
    if (axis == 0)  // the last one: before == 1
      contract(n, before, after, kernel, v, Panels{partial, panels * m.apart, m.apart, 0}, 0,
               Finish{m.stream != 0});
    else
      contract(n, before, after, kernel, v, rows_of(spare[axis % 2], after), n * after);
    v = spare[axis % 2];
    after *= n;
  }
}

// Points along one axis but the first: those with i before and j after start at `at`, and lie
// `after` points apart.
struct Line {
  long n, before, after;
  long at(long i, long j) const { return i * n * after + j; }
};

INLINE Line line(const Mixing& m, long axis) {
  long after = 1;
  for (long later = axis + 1; later < m.rank; later++) after *= m.axes[later];
  return Line{m.axes[axis], m.rest / (m.axes[axis] * after), after};
}

// Each axis but the first alone, of one head at one x: v (rest, d) -> its parts of the results and
// of the tally's sums.
static void contract_apart(const Mixing& m, const float* const* kernels, long bh, const float* v,
                           float* results, const Tally& tally) {
  const long row = m.results(), d = m.width;
  for (long axis = 0; axis < m.rank; axis++) {
    const Line on = line(m, axis);
    const Left kernel{kernels[axis] + bh * on.n * on.n, on.n, 1, 0};
    float* part = results + (axis + 1) * d;
    Finish finish{m.stream != 0, moved(tally, 0, (axis + 1) * d)};
    for (long i = 0; i < on.before; i++)
      for (long j = 0; j < on.after; j++) {
        const long at = on.at(i, j);
        product(Size{on.n, d, on.n, 1}, kernel, rows_of(v + at * d, on.after * d),
                rows_of(part + at * row, on.after * row), Start{}, finish);
        finish.tally.begin = false;
      }
  }
}

// weight (c, h d); values null: not kept. In parallel also the results of all axes but the first,
// and their moments: see first_axis.
static void values_and_others(const Mixing& m, const float* u, const float* weight,
                              const float* const* kernels, float* values, float* partial,
                              float* results, float* first, float* sum, float* square) {
  const long blocks = (m.first + BLOCK - 1) / BLOCK, f = m.features();
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.batch * blocks; item++) {
    const long b = item / blocks, start = item % blocks * BLOCK;
    const long stop = start + BLOCK < m.first ? start + BLOCK : m.first;
    Pieces pieces(3 * Pieces::padded(m.head()));
    float* work = pieces.next(m.head());
    float* spare[2] = {pieces.next(m.head()), pieces.next(m.head())};
    for (long h = 0; h < m.heads; h++)
      for (long x = start; x < stop; x++) {
        const long at = b * m.first + x, bh = b * m.heads + h;
        float* kept = values ? values + (at * m.heads + h) * m.head() : nullptr;
        float* target = partial + bh * (m.head() / PANEL) * m.apart + x * PANEL;
        float* own = work;
        Finish finish{};
        if (m.parallel()) {
          own = kept ? kept : work;
          finish.copy = Panels{target, m.width / PANEL * m.apart, m.apart, 0};
        } else if (kept) {
          finish.copy = rows_of(kept, m.width);
        }
        product(Size{m.rest, m.width, m.channels, 1},
                Left{u + at * m.rest * m.channels, m.channels, 1, 0},
                rows_of(weight + h * m.width, f), rows_of(own, m.width), Start{}, finish);
        if (m.parallel()) {
          const long column = h * m.parts * m.width, of = at * m.results() + column;
          contract_apart(m, kernels, bh, own, results + at * m.slab + column,
                         Tally{true, first + of, sum + of, square + of, 0});
        } else {
          contract_others(m, kernels, bh, own, spare, target);
        }
      }
    finish_stores();
  }
}

// The first axis. first, sum, square (b, x, h, part, d): see Tally, over rest.
static void first_axis(const Mixing& m, const float* kernels, const float* partial, float* results,
                       float* first, float* sum, float* square) {
  const long f = m.results(), n = m.first, panels = m.width / PANEL;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.batch * m.heads; item++) {
    const long b = item / m.heads, column = item % m.heads * m.parts * m.width;
    const long at = b * n * f + column;
    const Left kernel{kernels + item * n * n, n, 1, 0};
    for (long y = 0; y < m.rest; y++) {
      const float* p = partial + (item * m.rest + y) * panels * m.apart;
      if (y + 1 < m.rest) soon.add(p + panels * m.apart, panels * m.apart);
      product(Size{n, m.width, n, 1}, kernel, Panels{(float*)p, PANEL, m.apart, 0},
              rows_of(results + b * n * m.slab + y * f + column, m.slab), Start{},
              Finish{m.stream != 0, Tally{y == 0, first + at, sum + at, square + at, f}});
    }
    finish_stores();
  }
}

struct Projection {  // with numbers from sample to sample and from x to x
  const float *weight, *shift, *scale;  // (f, o), (o), one number (null: 1)
  long weight_b, shift_b, shift_x;
  const float *second, *residual;  // (o, p), (b, x, rest, p) or null
  long second_out;
};

// mixed (b, x, rest, o), kept if not null; y (b, x, rest, p)
static void project(const Mixing& m, const Projection& w, const float* results, float* mixed,
                    float* y) {
  const long o = m.out, p = w.second_out, f = m.results(), tiles = (m.rest + TILE - 1) / TILE;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.batch * m.first * tiles; item++) {
    const long at = item / tiles, i = item % tiles * TILE, b = at / m.first, x = at % m.first;
    const long rows = i + TILE < m.rest ? TILE : m.rest - i;
    Pieces pieces(2 * Pieces::padded(TILE * o));
    float *own = pieces.next(TILE * o), *hidden = pieces.next(TILE * o);
    float* z = own;
    const float* q = results + at * m.slab + i * f;
    if (at + 1 < m.batch * m.first)
      soon.add(q + (i + TILE < m.rest ? TILE * f : m.slab), rows * f);
    for (long k = 0; k < f; k += INNER) {
      const long inner = f - k < INNER ? f - k : INNER;
      Start start{Panels{}, nullptr, w.shift + b * w.shift_b + x * w.shift_x};
      if (k) start = Start{rows_of(z, o)};
      Finish finish{};
      if (mixed && !w.scale && k + inner == f)
        finish.copy = rows_of(mixed + (at * m.rest + i) * o, o);
      product(Size{rows, o, inner, 1}, Left{q + k, f, 1, 0},
              rows_of(w.weight + b * w.weight_b + k * o, o), rows_of(z, o), start, finish);
    }
    if (w.scale)
      for (long j = 0; j < rows * o; j += LANES) {
        store(z + j, load(z + j) * w.scale[at]);
        if (mixed) store_past_caches(mixed + (at * m.rest + i) * o + j, load(z + j));
      }
    gelu_row(z, hidden, rows * o);
    Start start{};
    if (w.residual) start.source = rows_of(w.residual + (at * m.rest + i) * p, p);
    product(Size{rows, p, o, 1}, Left{hidden, o, 1, 0}, rows_of(w.second, p),
            rows_of(y + (at * m.rest + i) * p, p), start, Finish{true});
    finish_stores();
  }
}
