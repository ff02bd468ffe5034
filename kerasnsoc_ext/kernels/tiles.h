/* Tiles of 16 rows of up to 64 bytes: the eight registers of AMX, or, with KNSOC_EMULATED_TILES, plain
 * C of the same meaning, with which tests run the kernels on any CPU.
 *
 * Tiles 0 to 3 hold 16 x 16 sums; 4 and 5 rows of inputs; 6 and 7 rows of weights, four bytes for
 * each of 16 neurons. A tile is named by a literal. */
#ifndef KNSOC_TILES_H
#define KNSOC_TILES_H

#include <stdint.h>
#include <string.h>

#define KNSOC_TILE_ROWS 16
#define KNSOC_TILE_BYTES 64

/* As the instruction reads it. */
typedef struct knsoc_tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} knsoc_tile_config;

/* For inputs of `quads` times four bytes a row. */
static inline knsoc_tile_config knsoc_tile_shapes(int quads)
{
    knsoc_tile_config config = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        config.row_bytes[tile] = KNSOC_TILE_BYTES;
        config.rows[tile] = KNSOC_TILE_ROWS;
    }
    config.row_bytes[4] = config.row_bytes[5] = (uint16_t)(4 * quads);
    config.rows[6] = config.rows[7] = (uint8_t)quads;
    return config;
}

#ifndef KNSOC_EMULATED_TILES

#define TILE_TARGET __attribute__((target("amx-tile,amx-int8")))

/* Not the compilers' intrinsics: gcc's do not say that they read and write memory, and its
 * ldtilecfg names eight bytes of the shapes as what it reads. */
#define TILE_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(config)))
#define TILE_RELEASE() __asm__ volatile("tilerelease")
#define TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile : :)
#define TILE_LOAD(tile, from, stride)                                   \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile                 \
                     :                                                  \
                     : "r"((const void *)(from)), "r"((int64_t)(stride)) \
                     : "memory")
#define TILE_STORE(tile, to, stride)                              \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)"       \
                     :                                            \
                     : "r"((void *)(to)), "r"((int64_t)(stride))  \
                     : "memory")
/* sums += unsigned bytes of inputs times signed bytes of weights, in groups of four */
#define TILE_DOT(sums, inputs, weights) \
    __asm__ volatile("tdpbusd %%tmm" #weights ", %%tmm" #inputs ", %%tmm" #sums : :)

#else

#include <stdlib.h>

#define TILE_TARGET

static _Thread_local struct {
    knsoc_tile_config config;
    uint8_t bytes[8][KNSOC_TILE_ROWS][KNSOC_TILE_BYTES];
} knsoc_tiles;

/* What the CPU answers with a fault. */
static inline void knsoc_tile_demand(int claim)
{
    if (!claim)
        abort();
}

static inline void knsoc_tile_configure(const knsoc_tile_config *config)
{
    memset(&knsoc_tiles, 0, sizeof knsoc_tiles);
    for (int tile = 0; tile < 8; tile++)
        knsoc_tile_demand(config->palette == 1 && config->rows[tile] <= KNSOC_TILE_ROWS &&
                          config->row_bytes[tile] <= KNSOC_TILE_BYTES);
    knsoc_tiles.config = *config;
}

static inline void knsoc_tile_zero(int tile)
{
    knsoc_tile_demand(knsoc_tiles.config.palette == 1);
    memset(knsoc_tiles.bytes[tile], 0, sizeof knsoc_tiles.bytes[tile]);
}

static inline void knsoc_tile_load(int tile, const void *from, int64_t stride)
{
    knsoc_tile_zero(tile);
    for (int row = 0; row < knsoc_tiles.config.rows[tile]; row++)
        memcpy(knsoc_tiles.bytes[tile][row], (const uint8_t *)from + row * stride,
               knsoc_tiles.config.row_bytes[tile]);
}

static inline void knsoc_tile_store(int tile, void *to, int64_t stride)
{
    knsoc_tile_demand(knsoc_tiles.config.palette == 1);
    for (int row = 0; row < knsoc_tiles.config.rows[tile]; row++)
        memcpy((uint8_t *)to + row * stride, knsoc_tiles.bytes[tile][row],
               knsoc_tiles.config.row_bytes[tile]);
}

static inline void knsoc_tile_dot(int sums, int inputs, int weights)
{
    const knsoc_tile_config *config = &knsoc_tiles.config;
    knsoc_tile_demand(config->palette == 1 && config->rows[sums] == config->rows[inputs] &&
                      config->row_bytes[inputs] == 4 * config->rows[weights] &&
                      config->row_bytes[sums] == config->row_bytes[weights]);
    for (int row = 0; row < config->rows[sums]; row++)
        for (int n = 0; n < config->row_bytes[sums] / 4; n++) {
            uint32_t sum; /* wraps, as the instruction does */
            memcpy(&sum, &knsoc_tiles.bytes[sums][row][4 * n], 4);
            for (int i = 0; i < config->row_bytes[inputs]; i++)
                sum += (uint32_t)(knsoc_tiles.bytes[inputs][row][i] *
                                  (int8_t)knsoc_tiles.bytes[weights][i / 4][4 * n + i % 4]);
            memcpy(&knsoc_tiles.bytes[sums][row][4 * n], &sum, 4);
        }
}

#define TILE_CONFIGURE(config) knsoc_tile_configure(config)
#define TILE_RELEASE() memset(&knsoc_tiles, 0, sizeof knsoc_tiles)
#define TILE_ZERO(tile) knsoc_tile_zero(tile)
#define TILE_LOAD(tile, from, stride) knsoc_tile_load(tile, from, stride)
#define TILE_STORE(tile, to, stride) knsoc_tile_store(tile, to, stride)
#define TILE_DOT(sums, inputs, weights) knsoc_tile_dot(sums, inputs, weights)

#endif
#endif
