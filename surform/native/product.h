// Matrix products of blocks that lie in the caches: C = start + A B.
//
// A is read in place, whatever its strides. B and C are cut into panels of PANEL columns, PANEL
// numbers of a row being contiguous; rows and panels may lie anywhere. So a row-major matrix, a
// packed one and a tensor whose columns are spread over an axis are all the same to the product.
#pragma once

#include "simd.h"

#define PANEL (2 * LANES)
#define LINE 16  // numbers in a line of the cache
#define EVERY 4  // steps of the inner dimension per request for memory

struct Left {  // A: element (i, segment, k) at p + i row + segment jump + k step
  const float* p;
  long row, step, jump;
};

struct Panels {  // row r, panel j at p + r row + j panel; segments of rows lie `jump` apart
  float* p;
  long row, panel, jump;
};

struct Start {  // start(i, column) = source(i, column) * slope(column) + offset(column), if given
  Panels source;
  const float *slope, *offset;
};

// Moments over many products of each number of C: of the first product's number, the sum of
// differences to it and the sum of their squares; rows as far apart as given. row = 0: one moment
// per column, over the rows too.
struct Tally {
  bool begin;
  float *first, *sum, *square;
  long row;
};

struct Finish {
  bool stream;  // C will not be read soon: it goes past the caches
  Tally tally;  // all null: none
  Panels copy;  // where C is written once more, past the caches; null: nowhere
};

struct Size {
  long rows, columns, inner, segments;  // the inner dimension is segments * inner
};

// Memory that will be read soon: products ask for a line of it now and then, so that it has come
// into the second cache when it is needed.
struct Soon {
  static const int MOST = 16;
  const float* p[MOST];
  long count[MOST];
  int begin = 0, end = 0;
  void add(const float* start, long numbers) {
    if (end == MOST) begin = end = 0;
    p[end] = start, count[end] = numbers;
    end += numbers > 0;
  }
  // What the next `lines` requests ask for; they may run over the end a little.
  const float* take(long lines) {
    if (begin == end) return nullptr;
    const float* found = p[begin];
    p[begin] += lines * LINE, count[begin] -= lines * LINE;
    begin += count[begin] <= 0;
    return found;
  }
};

static thread_local Soon soon;

struct Tile {
  long inner, segments;
  Left a;
  Panels b, c;
  Start start;
  Finish finish;
  long column;        // of the first number
  const float* soon;  // or null
};

INLINE void add_to(const Tally& t, long at, vec x) {
  float *first = t.first + at, *sum = t.sum + at, *square = t.square + at;
  if (t.begin) {
    store(first, x);
    store(sum, vec{});
    store(square, vec{});
  } else {
    const vec d = x - load(first);
    store(sum, load(sum) + d);
    store(square, load(square) + d * d);
  }
}

// The same for the rows of a tile together.
template <int R, int V>
INLINE void add_rows_to(const Tally& t, vec rows[R][V]) {
  for (int v = 0; v < V; v++) {
    float *first = t.first + v * LANES, *sum = t.sum + v * LANES, *square = t.square + v * LANES;
    if (t.begin) store(first, rows[0][v]);
    const vec start = load(first);
    vec s = t.begin ? vec{} : load(sum), q = t.begin ? vec{} : load(square);
    for (int i = 0; i < R; i++) {
      const vec d = rows[i][v] - start;
      s += d;
      q += d * d;
    }
    store(sum, s);
    store(square, q);
  }
}

template <int R, int V>
INLINE void begin_sums(const Tile& t, vec sum[R][V]) {
  const Start& s = t.start;
  for (int v = 0; v < V; v++) {
    const long column = t.column + v * LANES;
    const vec offset = s.offset ? load(s.offset + column) : vec{};
    const vec slope = s.slope ? load(s.slope + column) : splat(1);
    for (int i = 0; i < R; i++)
      sum[i][v] = s.source.p ? load(s.source.p + i * s.source.row + v * LANES) * slope + offset
                             : offset;
  }
}

template <int R, int V>
INLINE void end_sums(const Tile& t, vec sum[R][V]) {
  const Tally& tally = t.finish.tally;
  if (tally.first && !tally.row)
    add_rows_to<R, V>(tally, sum);
  else if (tally.first)
    for (int i = 0; i < R; i++)
      for (int v = 0; v < V; v++) add_to(tally, i * tally.row + v * LANES, sum[i][v]);
  for (int i = 0; i < R; i++)
    for (int v = 0; v < V; v++) {
      float* p = t.c.p + i * t.c.row + v * LANES;
      t.finish.stream ? store_past_caches(p, sum[i][v]) : store(p, sum[i][v]);
    }
  const Panels& copy = t.finish.copy;
  if (copy.p)
    for (int i = 0; i < R; i++)
      for (int v = 0; v < V; v++) store_past_caches(copy.p + i * copy.row + v * LANES, sum[i][v]);
}

template <int R, int V>
INLINE void add_product(const float* x, long row, const float* y, vec sum[R][V]) {
  vec right[V];
  for (int v = 0; v < V; v++) right[v] = load(y + v * LANES);
#pragma GCC unroll 16
  for (int i = 0; i < R; i++) {
    const vec left = splat(x[i * row]);
    for (int v = 0; v < V; v++) sum[i][v] += left * right[v];
  }
}

template <int R, int V, bool UP>  // UP: A's rows are contiguous numbers (A is transposed)
INLINE void compute(const Tile& t) {
  vec sum[R][V];
  begin_sums<R, V>(t, sum);
  const long row = UP ? 1 : t.a.row, step = UP ? t.a.step : 1, brow = t.b.row;
  const float* next = t.soon ? t.soon : t.a.p;
  const long stride = t.soon ? LINE : 0;
  for (long s = 0; s < t.segments; s++) {
    const float *x = t.a.p + s * t.a.jump, *y = t.b.p + s * t.b.jump;
    long k = 0;
    for (; k + EVERY <= t.inner; k += EVERY) {
      __builtin_prefetch(next, 0, 2);
      next += stride;
      for (int l = 0; l < EVERY; l++, x += step, y += brow) add_product<R, V>(x, row, y, sum);
    }
    for (; k < t.inner; k++, x += step, y += brow) add_product<R, V>(x, row, y, sum);
  }
  end_sums<R, V>(t, sum);
}

template <int V, bool UP>
static void compute_rows(long rows, const Tile& t) {
  switch (rows) {
#define CASE(R)                                              \
  case R:                                                    \
    if constexpr (R <= MOST_ROWS) compute<R, V, UP>(t);      \
    break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
    CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#undef CASE
  }
}

// For the tile that starts at a row and a column.
INLINE Tally moved(const Tally& t, long row, long column) {
  const long by = row * t.row + column;
  return Tally{t.begin && (t.row || !row), t.first + by, t.sum + by, t.square + by, t.row};
}

// Columns must be a multiple of LANES.
static void product(const Size& n, const Left& a, const Panels& b, const Panels& c,
                    const Start& s = Start{}, const Finish& f = Finish{}) {
  const long tiles = (n.rows + MOST_ROWS - 1) / MOST_ROWS;
  const long least = n.rows / tiles, larger = n.rows % tiles;  // no tile is nearly empty
  const long requests = n.segments * (n.inner / EVERY);
  Soon& queue = soon;
  Tile t{n.inner, n.segments, a, b, c, s, f, 0, nullptr};
  for (long j = 0; j * PANEL < n.columns; j++) {
    const bool half = n.columns - j * PANEL < PANEL;
    t.column = j * PANEL;
    t.b.p = b.p + j * b.panel;
    for (long i = 0, rows, k = 0; k < tiles; k++, i += rows) {
      rows = least + (k < larger);
      t.a.p = a.p + i * a.row;
      t.c.p = c.p + i * c.row + j * c.panel;
      if (s.source.p) t.start.source.p = s.source.p + i * s.source.row + j * s.source.panel;
      if (f.tally.first) t.finish.tally = moved(f.tally, i, j * PANEL);
      if (f.copy.p) t.finish.copy.p = f.copy.p + i * f.copy.row + j * f.copy.panel;
      t.soon = queue.take(requests);
      if (a.row == 1)
        half ? compute_rows<1, true>(rows, t) : compute_rows<2, true>(rows, t);
      else
        half ? compute_rows<1, false>(rows, t) : compute_rows<2, false>(rows, t);
    }
  }
}

// r <- its transpose, in log2(LANES) rounds of exchanging halves, quarters, ...
INLINE void transpose(vec r[LANES]) {
#pragma GCC unroll 4
  for (int step = LANES / 2; step; step /= 2) {
    ivec low = {}, high = {};
    for (int i = 0; i < LANES; i++) {
      low[i] = i & step ? LANES + i - step : i;
      high[i] = i & step ? LANES + i : i + step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
      if (!(i & step)) {
        const vec a = r[i], b = r[i + step];
        r[i] = __builtin_shuffle(a, b, low);
        r[i + step] = __builtin_shuffle(a, b, high);
      }
  }
}

// t (columns, rows padded to panels) <- x (rows, columns) with `row` numbers per row; columns is a
// multiple of LANES.
static void turn(long rows, long columns, const float* x, long row, float* t, long width) {
  for (long i = 0; i < width; i += LANES)
    for (long k = 0; k < columns; k += LANES) {
      vec r[LANES];
      for (int l = 0; l < LANES; l++) r[l] = i + l < rows ? load(x + (i + l) * row + k) : vec{};
      transpose(r);
      for (int l = 0; l < LANES; l++) store(t + (k + l) * width + i, r[l]);
    }
}

INLINE long padded(long n) { return (n + PANEL - 1) / PANEL * PANEL; }
