// Vectors of float32 as wide as the machine's registers, in the compilers' portable notation.
#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#define MOST_ROWS 14  // of a tile: 14 x 2 sums, two vectors of B and one of A fill 32 registers
#elif defined(__AVX__)
#define LANES 8
#define MOST_ROWS 6  // 16 registers
#else
#define LANES 4
#define MOST_ROWS 12
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int ivec __attribute__((vector_size(4 * LANES)));
typedef float loose_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec load(const float* p) { return *(const loose_vec*)p; }
INLINE void store(float* p, vec x) { *(loose_vec*)p = x; }

// For numbers that are not read soon.
INLINE void store_past_caches(float* p, vec x) {
#if defined(__AVX512F__)
  (long)p % 64 ? store(p, x) : _mm512_stream_ps(p, (__m512)x);
#else
  store(p, x);
#endif
}

// Makes them visible to other threads.
INLINE void finish_stores() {
#if defined(__AVX512F__)
  _mm_sfence();
#endif
}

INLINE vec splat(float x) { return x - (vec){}; }
INLINE vec pick(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }

INLINE float total(vec x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)x);
#else
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += x[i];
  return sum;
#endif
}

INLINE vec reciprocal(vec x) {
#if defined(__AVX512F__)
  const vec guess = (vec)_mm512_rcp14_ps((__m512)x);  // of 14 bits; one step of Newton's method
  return guess * (2.f - x * guess);
#else
  return 1.f / x;
#endif
}
