// Matrix products of blocks that lie in the caches: C = start + A B.
//
// A is read in place, whatever its strides. B and C are cut into panels of PANEL columns, PANEL
// numbers of a row being contiguous; rows and panels may lie anywhere. So a row-major matrix, a
// packed one and a tensor whose columns are spread over an axis are all the same to the product.
#pragma once

#include "simd.h"

#define PANEL (2 * LANES)
#define LINE 16  // numbers in a line of the cache

struct Left {  // A: element (i, segment, k) at p + i row + segment jump + k step
  const float* p;
  long row, step, jump;
};

struct Panels {  // row r, panel j at p + r row + j panel; segments of rows lie `jump` apart
  float* p;
  long row, panel, jump;
};

struct Start {  // start(i, column) = source(i, column) * slope(column) + offset(column); all optional
  Panels source;
  const float *slope, *offset;
};

// What else a tile does on its way to memory. Nothing in it is needed.
struct Finish {
  bool stream;  // C will not be read soon: past the caches, for which it must be aligned
  // Moments over many products of each number of C: of the first product's number, the sum of
  // differences to it and the sum of their squares; rows as far apart as given.
  bool begin;
  float *first, *sum, *square;
  long row;
  // Memory that will be read next, fetched evenly while this product computes.
  const float* ahead;
  long count;
};

struct Size {
  long rows, columns, inner, segments;  // the inner dimension is segments * inner
};

INLINE void tally(const Finish& f, float* first, vec x) {
  float *sum = f.sum + (first - f.first), *square = f.square + (first - f.first);
  if (f.begin) {
    store(first, x);
    store(sum, vec{});
    store(square, vec{});
  } else {
    const vec d = x - load(first);
    store(sum, load(sum) + d);
    store(square, load(square) + d * d);
  }
}

INLINE void fetch(Finish& f, long lines) {
  for (; lines > 0 && f.count > 0; lines--, f.ahead += LINE, f.count -= LINE)
    __builtin_prefetch(f.ahead, 0, 2);
}

template <int R, int V, bool UP>  // UP: A's rows are contiguous numbers (A is transposed)
INLINE void tile(long inner, long segments, const Left& a, const float* ap, const float* b,
                 long brow, long bjump, float* c, long crow, const Start& s, const float* source,
                 long column, const Finish& f, float* first) {
  vec sum[R][V];
  for (int v = 0; v < V; v++) {
    const vec offset = s.offset ? load(s.offset + column + v * LANES) : vec{};
    const vec slope = s.slope ? load(s.slope + column + v * LANES) : splat(1);
    for (int i = 0; i < R; i++)
      sum[i][v] = source ? load(source + i * s.source.row + v * LANES) * slope + offset : offset;
  }
  const long row = UP ? 1 : a.row, step = UP ? a.step : 1;
  for (long t = 0; t < segments; t++) {
    const float *x = ap + t * a.jump, *y = b + t * bjump;
    for (long k = 0; k < inner; k++, x += step, y += brow) {
      vec right[V];
      for (int v = 0; v < V; v++) right[v] = load(y + v * LANES);
#pragma GCC unroll 16
      for (int i = 0; i < R; i++) {
        const vec left = splat(x[i * row]);
        for (int v = 0; v < V; v++) sum[i][v] += left * right[v];
      }
    }
  }
  if (first)
    for (int i = 0; i < R; i++)
      for (int v = 0; v < V; v++) tally(f, first + i * f.row + v * LANES, sum[i][v]);
  for (int i = 0; i < R; i++)
    for (int v = 0; v < V; v++) {
      float* p = c + i * crow + v * LANES;
      f.stream ? store_past_caches(p, sum[i][v]) : store(p, sum[i][v]);
    }
}

template <int V, bool UP>
static void tile_of(long rows, long inner, long segments, const Left& a, const float* ap,
                    const float* b, long brow, long bjump, float* c, long crow, const Start& s,
                    const float* source, long column, const Finish& f, float* first) {
  switch (rows) {
#define CASE(R)                                                                                \
  case R:                                                                                      \
    if constexpr (R <= MOST_ROWS)                                                              \
      tile<R, V, UP>(inner, segments, a, ap, b, brow, bjump, c, crow, s, source, column, f, \
                      first);                                                                  \
    break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
    CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#undef CASE
  }
}

// Columns must be a multiple of LANES.
static void product(const Size& n, const Left& a, const Panels& b, const Panels& c,
                    const Start& s = Start{}, Finish f = Finish{}) {
  const long tiles = (n.rows + MOST_ROWS - 1) / MOST_ROWS;
  const long share = f.count / LINE / (tiles * ((n.columns + PANEL - 1) / PANEL)) + 1;
  for (long j = 0; j * PANEL < n.columns; j++) {
    const bool half = n.columns - j * PANEL < PANEL;
    for (long t = 0; t < tiles; t++) {  // rows are shared evenly: no tile is nearly empty
      const long i = n.rows * t / tiles, rows = n.rows * (t + 1) / tiles - i;
      const float* source =
          s.source.p ? s.source.p + i * s.source.row + j * s.source.panel : nullptr;
      float* target = c.p + i * c.row + j * c.panel;
      const bool up = a.row == 1;
      fetch(f, share);
      (half ? (up ? tile_of<1, true> : tile_of<1, false>)
            : (up ? tile_of<2, true> : tile_of<2, false>))(
          rows, n.inner, n.segments, a, a.p + i * a.row, b.p + j * b.panel, b.row, b.jump, target,
          c.row, s, source, j * PANEL, f,
          f.first ? f.first + i * f.row + j * PANEL : nullptr);
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
