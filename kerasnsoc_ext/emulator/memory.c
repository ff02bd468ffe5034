/* Everything that grows while a chip runs is taken here, so that one budget bounds it. */
#include <stdlib.h>
#include <string.h>

#include "kne.h"

static const int64_t row_size[KNE_TABLES] = {
    sizeof(kne_log_row),  sizeof(kne_drop_row),    sizeof(kne_trace_row),
    sizeof(kne_link_row), sizeof(kne_service_row), sizeof(kne_token_row),
};

/* A block with room for one more than `count` rows; NULL with chip->status set if there is none. */
void *kne_grown(kne_chip *chip, void *block, int64_t count, int64_t *room, int64_t size)
{
    if (count < *room)
        return block;
    const int64_t wanted = *room ? 2 * *room : 64;
    const int64_t more = (wanted - *room) * size;
    if (more > chip->budget - chip->used) {
        chip->status = KNE_OVER_BUDGET;
        return NULL;
    }
    void *moved = realloc(block, (size_t)(wanted * size));
    if (!moved) {
        chip->status = KNE_NO_MEMORY;
        return NULL;
    }
    chip->used += more;
    *room = wanted;
    return moved;
}

void *kne_row(kne_chip *chip, int32_t table)
{
    kne_table *t = &chip->table[table];
    t->size = row_size[table];
    char *rows = kne_grown(chip, t->rows, t->count, &t->room, t->size);
    if (!rows)
        return NULL;
    t->rows = rows;
    return rows + t->size * t->count++;
}

void kne_drop_tables(kne_chip *chip)
{
    for (int32_t i = 0; i < KNE_TABLES; i++) {
        kne_table *t = &chip->table[i];
        chip->used -= t->room * t->size;
        free(t->rows);
        memset(t, 0, sizeof *t);
    }
}
