/* Kernels for CPUs with AMX: the dense form of convolutions by tiles, all else as with AVX-512. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* syscall */
#endif
#include "amx.h"

#ifdef KNSOC_AMX
#include <stdlib.h>
#include <string.h>

#include "tiles.h"

#define ROWS KNSOC_TILE_ROWS
#define PACKED_BLOCK 64 /* neurons that the AVX-512 row lays side by side */
#define TILE_NEURONS 16
#define NEURONS (2 * TILE_NEURONS) /* of one pass: two tiles of weights */

/* Below these a tile is too empty to be worth its fixed costs. */
#define LEAST_POSITIONS 8
#define LEAST_QUADS 4

static knsoc_vector_kernels kernels; /* filled once, before the row is first found available */

/* ---- dense convolution ------------------------------------------------------------------------ */

/* 16 output positions: where their windows begin, and the bytes between these, or -1 where they do
 * not lie at even distances. */
typedef struct group {
    const uint8_t *from[ROWS];
    int64_t positions[ROWS], stride;
    int32_t count; /* 0: none; the last one is repeated up to 16 */
} group;

static void fill_group(const knsoc_packed *p, const uint8_t *inputs, int64_t left,
                       knsoc_cursor *cursor, group *g)
{
    const int64_t cell = p->channels, column = cell * p->framed_cells;
    g->count = left < 0 ? 0 : left < ROWS ? (int32_t)left : ROWS;
    for (int32_t r = 0; r < g->count; r++) {
        g->from[r] = inputs + cursor->column * p->stride_columns * column +
                     cursor->cell * p->stride_cells * cell;
        g->positions[r] = knsoc_output_position(*cursor, p);
        knsoc_advance(cursor, p);
    }
    for (int32_t r = g->count; g->count && r < ROWS; r++) {
        g->from[r] = g->from[g->count - 1];
        g->positions[r] = g->positions[g->count - 1];
    }
    g->stride = g->count ? g->from[1] - g->from[0] : 0;
    for (int32_t r = 1; g->count && r < ROWS; r++)
        if (g->from[r] - g->from[r - 1] != g->stride)
            g->stride = -1;
}

typedef struct scratch {
    _Alignas(64) uint8_t inputs[2][ROWS][KNSOC_TILE_BYTES];
    _Alignas(64) int8_t weights[2][ROWS][KNSOC_TILE_BYTES];
    _Alignas(64) int32_t sums[2 * ROWS][NEURONS];
    uint8_t activations[2 * ROWS][NEURONS];
} scratch;

/* Rows for a tile of inputs: in place where that is possible, else copied; `size` of `chunk` quads
 * exist. */
static const uint8_t *input_rows(const group *g, int64_t at, int size, int chunk,
                                 uint8_t (*copy)[KNSOC_TILE_BYTES], int64_t *stride)
{
    if (g->stride >= 0 && size == chunk) {
        *stride = g->stride;
        return g->from[0] + at;
    }
    for (int r = 0; r < ROWS; r++) {
        memcpy(copy[r], g->from[r] + at, (size_t)(4 * size));
        memset(copy[r] + 4 * size, 0, (size_t)(4 * (chunk - size)));
    }
    *stride = KNSOC_TILE_BYTES;
    return copy[0];
}

/* Potentials of two groups of positions and two tiles of neurons, into s->sums. */
TILE_TARGET static void tile_block(const knsoc_packed *p, const group *groups, const int8_t *weights,
                                   int chunk, int two_tiles, scratch *s)
{
    const int64_t pitch = (int64_t)p->channels * p->framed_cells;
    const int two_groups = groups[1].count > 0;
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (int32_t segment = 0; segment < p->segments; segment++)
        for (int32_t quad = 0; quad < p->quads; quad += chunk) {
            const int size = p->quads - quad < chunk ? p->quads - quad : chunk;
            const int64_t at = segment * pitch + 4 * (int64_t)quad;
            const int8_t *w =
                weights + ((int64_t)segment * p->quads + quad) * 4 * PACKED_BLOCK;
            int64_t weight_stride = 4 * PACKED_BLOCK, stride;
            const int8_t *second = w + KNSOC_TILE_BYTES;
            if (size < chunk) { /* what lies behind may be the end of all weights */
                memset(s->weights, 0, sizeof s->weights);
                for (int q = 0; q < size; q++)
                    for (int t = 0; t < 2; t++)
                        memcpy(s->weights[t][q], w + q * weight_stride + t * KNSOC_TILE_BYTES,
                               KNSOC_TILE_BYTES);
                w = s->weights[0][0];
                second = s->weights[1][0];
                weight_stride = KNSOC_TILE_BYTES;
            }
            const uint8_t *x = input_rows(&groups[0], at, size, chunk, s->inputs[0], &stride);
            TILE_LOAD(4, x, stride);
            TILE_LOAD(6, w, weight_stride);
            TILE_DOT(0, 4, 6);
            if (two_tiles) {
                TILE_LOAD(7, second, weight_stride);
                TILE_DOT(1, 4, 7);
            }
            if (two_groups) {
                x = input_rows(&groups[1], at, size, chunk, s->inputs[1], &stride);
                TILE_LOAD(5, x, stride);
                TILE_DOT(2, 5, 6);
                if (two_tiles)
                    TILE_DOT(3, 5, 7);
            }
        }
    const int64_t row_bytes = sizeof s->sums[0];
    TILE_STORE(0, s->sums[0], row_bytes);
    TILE_STORE(1, s->sums[0] + TILE_NEURONS, row_bytes);
    TILE_STORE(2, s->sums[ROWS], row_bytes);
    TILE_STORE(3, s->sums[ROWS] + TILE_NEURONS, row_bytes);
}

/* Stores the sums, or what they become, of neurons that exist. */
static void finish_block(const knsoc_packed *p, const group *groups, int32_t neuron, scratch *s,
                         void *outputs)
{
    const int32_t left = p->neurons - neuron, neurons = left < NEURONS ? left : NEURONS;
    const int fires = p->fire.form != KNSOC_FIRE_NOT;
    if (fires) {
        /* as if there were these neurons only; tables go on up to whole blocks */
        knsoc_packed part = *p;
        part.neurons = NEURONS;
        if (p->fire.form == KNSOC_FIRE_LINE) {
            part.fire.slope_n += neuron;
            part.fire.offset_n += neuron;
        } else {
            part.fire.thresholds_mn += neuron;
        }
        kernels.fire(&part, s->sums[0], groups[1].count ? 2 * ROWS : ROWS, s->activations[0]);
    }
    for (int g = 0; g < 2; g++)
        for (int32_t r = 0; r < groups[g].count; r++) {
            const int64_t to = groups[g].positions[r] * p->neurons + neuron;
            const int row = g * ROWS + r;
            if (fires)
                memcpy((uint8_t *)outputs + to, s->activations[row], (size_t)neurons);
            else
                memcpy((int32_t *)outputs + to, s->sums[row], (size_t)neurons * sizeof(int32_t));
        }
}

TILE_TARGET static void dense_by_tiles(const knsoc_packed *p, const uint8_t *inputs, void *outputs)
{
    const int64_t count = (int64_t)p->output_columns * p->output_cells;
    const int64_t block_bytes = (int64_t)p->segments * p->quads * 4 * PACKED_BLOCK;
    /* as few chunks as there can be, and as alike */
    const int chunks = (p->quads + ROWS - 1) / ROWS, chunk = (p->quads + chunks - 1) / chunks;
    const knsoc_tile_config config = knsoc_tile_shapes(chunk);
    scratch s;
    TILE_CONFIGURE(&config);
    for (int32_t n = 0; n < p->neurons; n += NEURONS) {
        const int8_t *weights =
            p->dense + n / PACKED_BLOCK * block_bytes + n % PACKED_BLOCK * 4;
        knsoc_cursor cursor = {0, 0};
        for (int64_t i = 0; i < count; i += 2 * ROWS) {
            group groups[2];
            fill_group(p, inputs, count - i, &cursor, &groups[0]);
            fill_group(p, inputs, count - i - ROWS, &cursor, &groups[1]);
            tile_block(p, groups, weights, chunk, p->neurons - n > TILE_NEURONS, &s);
            finish_block(p, groups, n, &s, outputs);
        }
    }
    TILE_RELEASE();
}

static void dense(const knsoc_packed *p, const uint8_t *inputs, void *outputs)
{
    if (p->joined || p->quads < LEAST_QUADS ||
        (int64_t)p->output_columns * p->output_cells < LEAST_POSITIONS)
        knsoc_row__avx512vnni.vector->dense(p, inputs, outputs);
    else
        dense_by_tiles(p, inputs, outputs);
}

/* ---- is it there, and does it work --------------------------------------------------------------- */

#ifdef KNSOC_EMULATED_TILES
static const char *refused(void)
{
    return 0;
}
#else
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REQUEST_PERMISSION 0x1023 /* ARCH_REQ_XCOMP_PERM */
#define TILE_DATA 18              /* the state that this permission is for */

/* Why tiles cannot be used, or NULL. The permission, once given, is the process's. */
static const char *refused(void)
{
    uint32_t a, b, c, d, low, high;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1) || !(d >> 25 & 1))
        return "this CPU has no AMX for 8-bit integers";
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1))
        return "the operating system does not save extended registers";
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low >> 17 & 3) != 3)
        return "the operating system does not save tiles";
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) != 0)
        return "the operating system does not permit tiles";
    return 0;
}
#endif

enum {
    TEST_CHANNELS = 27,
    TEST_SIZE = 3,
    TEST_CELLS = 20,
    TEST_COLUMNS = 4,
    TEST_NEURONS = 88,
    TEST_QUADS = (TEST_CHANNELS * TEST_SIZE + 3) / 4,
    TEST_OUTPUTS = (TEST_CELLS - TEST_SIZE + 1) * (TEST_COLUMNS - TEST_SIZE + 1)
};

typedef struct trial {
    uint8_t inputs[TEST_COLUMNS * TEST_CELLS * TEST_CHANNELS + KNSOC_SLACK];
    int8_t weights[2][TEST_SIZE][TEST_QUADS][PACKED_BLOCK][4];
    int32_t potentials[TEST_OUTPUTS][TEST_NEURONS];
} trial;

/* Whether tiles give the integers of plain C for one layer: weights and inputs of all 8 bits,
 * groups within a column and across, chunks that are not whole, neurons that fill no tile. */
static int works(trial *t)
{
    uint32_t chance = 1;
    uint8_t *bytes[] = {t->inputs, (uint8_t *)t->weights};
    const size_t sizes[] = {sizeof t->inputs, sizeof t->weights};
    for (int part = 0; part < 2; part++)
        for (size_t i = 0; i < sizes[part]; i++) {
            chance = chance * 1664525u + 1013904223u;
            bytes[part][i] = (uint8_t)(chance >> 24);
        }
    const knsoc_packed p = {
        .kind = KNSOC_PACKED_CONV,
        .channels = TEST_CHANNELS,
        .framed_columns = TEST_COLUMNS,
        .framed_cells = TEST_CELLS,
        .stride_columns = 1,
        .stride_cells = 1,
        .output_columns = TEST_COLUMNS - TEST_SIZE + 1,
        .output_cells = TEST_CELLS - TEST_SIZE + 1,
        .column_step = TEST_CELLS - TEST_SIZE + 1,
        .cell_step = 1,
        .neurons = TEST_NEURONS,
        .padded_neurons = 2 * PACKED_BLOCK,
        .dense = t->weights[0][0][0][0],
        .segments = TEST_SIZE,
        .quads = TEST_QUADS,
    };
    dense_by_tiles(&p, t->inputs, t->potentials);
    for (int32_t o = 0; o < TEST_OUTPUTS; o++)
        for (int32_t n = 0; n < TEST_NEURONS; n++) {
            int32_t sum = 0;
            for (int32_t s = 0; s < TEST_SIZE; s++) {
                const int32_t cell = (o / p.output_cells + s) * TEST_CELLS + o % p.output_cells;
                for (int32_t i = 0; i < 4 * TEST_QUADS; i++)
                    sum += t->inputs[cell * TEST_CHANNELS + i] *
                           t->weights[n / PACKED_BLOCK][s][i / 4][n % PACKED_BLOCK][i % 4];
            }
            if (t->potentials[o][n] != sum)
                return 0;
        }
    return 1;
}

static const char *prepare(void)
{
    if (!knsoc_row__avx512vnni.available())
        return "this CPU has no AVX-512 VNNI, which all but dense convolutions run on";
    const char *reason = refused();
    if (reason)
        return reason;
    kernels = *knsoc_row__avx512vnni.vector;
    kernels.dense = dense;
    kernels.conv_crossover = 0.05;
    trial *t = malloc(sizeof *t);
    if (!t)
        return "there was no memory to test it";
    const int as_expected = works(t);
    free(t);
    return as_expected ? 0 : "its results differ from those of plain C";
}

/* Asked under the lock of the interpreter; prepared once, since kernels may run while it is asked
 * again. */
static const char *missing(void)
{
    static int prepared;
    static const char *reason;
    if (!prepared) {
        reason = prepare();
        prepared = 1;
    }
    return reason;
}

static int available(void)
{
    return missing() == 0;
}

const knsoc_row knsoc_row__amx = {
    .name = "amx",
    .available = available,
    KNSOC_PLAIN_KERNELS,
    .vector = &kernels,
    .missing = missing,
};
#endif
