// Functions of single numbers and of rows of channels.
#pragma once

#include "simd.h"

struct Gelu {
  vec value, slope;
};

// exp(-x^2 / 2), by 2^t = 2^round(t) 2^rest with a polynomial for the rest; 2^-126 at least
INLINE vec bell(vec x) {
  const float rate = -0.72134752044448170368f;  // log2(e) / 2
  vec square = x * x;
  square = square > 174.f ? splat(174.f) : square;
  const vec shift = splat(12582912.f);  // 1.5 * 2^23: adding it rounds to whole numbers
  const vec moved = square * rate + shift, whole = moved - shift, r = square * rate - whole;
  vec p = r * 0.0001534578525138164f + 0.0013399931003489041f;
  p = p * r + 0.009618489056578881f;
  p = p * r + 0.05550328777637213f;
  p = p * r + 0.24022646889715044f;
  p = p * r + 0.693147205736851f;
  p = p * r + 1.f;
  return (vec)((ivec)p + ((ivec)moved << 23));  // the bits of the shift fall out
}

struct Tail {
  vec size, bell, value;  // |x|, exp(-x^2 / 2), Phi(-|x|)
};

// Phi(-|x|) = bell(x) q P(q) with q = 1 / (1 + 0.35 |x|), P fitted to a relative error of 3e-8
INLINE Tail tail(vec x) {
  const vec a = (vec)((ivec)x & 0x7fffffff), e = bell(x), q = reciprocal(a * 0.35f + 1.f);
  vec p = q * -0.029147082582919783f + 0.1439771316295596f;
  p = p * q - 0.255725062193842f;
  p = p * q + 0.15918594716730414f;
  p = p * q - 0.023117502043705114f;
  p = p * q + 0.10551103095401065f;
  p = p * q + 0.11983216421300788f;
  p = p * q + 0.13986195701140247f;
  p = p * q + 0.13962139989220165f;
  return Tail{a, e, e * q * p};
}

// x Phi(x) = max(x, 0) - |x| Phi(-|x|)
INLINE vec gelu_value(vec x, const Tail& t) { return (x < 0.f ? vec{} : x) - t.size * t.value; }

// and its derivative Phi(x) + x phi(x)
INLINE Gelu gelu(vec x) {
  const Tail t = tail(x);
  const vec phi = x < 0.f ? t.value : 1.f - t.value;
  return Gelu{gelu_value(x, t), phi + x * t.bell * 0.3989422804014327f};
}

INLINE void gelu_row(const float* x, float* y, long n) {
  for (long i = 0; i < n; i += LANES) {
    const vec z = load(x + i);
    store(y + i, gelu_value(z, tail(z)));
  }
}

INLINE void gelu_rows(const float* x, long n, float* value, float* slope) {
  for (long j = 0; j < n; j += LANES) {
    const Gelu g = gelu(load(x + j));
    store(value + j, g.value);
    store(slope + j, g.slope);
  }
}

struct Moments {
  float mean, scale;  // scale = 1 / standard deviation
};

INLINE Moments row_moments(const float* x, long n, float eps) {
  vec sum = {}, square = {};
  for (long i = 0; i < n; i += LANES) sum += load(x + i);
  const float mean = total(sum) / n;
  for (long i = 0; i < n; i += LANES) {
    const vec d = load(x + i) - mean;
    square += d * d;
  }
  return Moments{mean, 1.f / __builtin_sqrtf(total(square) / n + eps)};
}

INLINE void norm_row(const float* x, Moments m, const float* scale, const float* shift, float* y,
                     long n) {
  for (long i = 0; i < n; i += LANES)
    store(y + i, (load(x + i) - m.mean) * m.scale * load(scale + i) + load(shift + i));
}
