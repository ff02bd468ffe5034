/* The loops of one kernel, which the compiler vectorizes for the target that TARGET names.
 * Before including: KERNEL(op) names a function, TARGET its attributes, ONES(word) counts bits. */

#ifndef BITS_ARE_ELSEWHERE
TARGET static void KERNEL(overlap)(const uint64_t *rows_jw, int32_t neurons, int64_t words,
                                   const uint64_t *sample_w, int32_t *potentials_j)
{
    for (int32_t j = 0; j < neurons; j++, rows_jw += words) {
        int64_t sum = 0;
        for (int64_t w = 0; w < words; w++)
            sum += (int64_t)ONES(rows_jw[w] & sample_w[w]);
        potentials_j[j] = (int32_t)sum;
    }
}

TARGET static void KERNEL(pack)(const uint8_t *bytes, int64_t words, uint64_t *bits)
{
    for (int64_t w = 0; w < words; w++) {
        uint64_t word = 0;
        for (int32_t group = 0; group < 64; group += 8, bytes += 8) {
            uint64_t eight = 0;
            for (int32_t k = 0; k < 8; k++)
                eight |= (uint64_t)bytes[k] << (8 * k);
            /* byte k times 2**(56 - 7k) puts its bit at 56 + k; no two terms meet in a bit */
            word |= ((eight * 0x0102040810204080u) >> 56) << group;
        }
        bits[w] = word;
    }
}

TARGET static void KERNEL(unpack)(const uint64_t *bits, int64_t words, uint8_t *bytes)
{
    for (int64_t w = 0; w < words; w++)
        for (int32_t group = 0; group < 64; group += 8, bytes += 8) {
            /* the octet eight times, of copy k only bit k, then any bit of a byte as its lowest */
            uint64_t eight = ((bits[w] >> group) & 0xFF) * 0x0101010101010101u;
            eight = (((eight & 0x8040201008040201u) + 0x7F7F7F7F7F7F7F7Fu) >> 7) & 0x0101010101010101u;
            for (int32_t k = 0; k < 8; k++)
                bytes[k] = (uint8_t)(eight >> (8 * k));
        }
}

TARGET static void KERNEL(reach)(const int16_t *keys_i, int64_t words, int16_t least, uint64_t *bits)
{
    for (int64_t w = 0; w < words; w++, keys_i += 64) {
        uint8_t bytes[64];
        for (int32_t i = 0; i < 64; i++)
            bytes[i] = keys_i[i] >= least;
        KERNEL(pack)(bytes, 1, bits + w);
    }
}
#endif

TARGET static void KERNEL(average)(const uint8_t *sample_i, const uint8_t *weights_i, int64_t inputs,
                                   int32_t plasticity, int16_t *counters_i, int16_t *keys_i)
{
    for (int64_t i = 0; i < inputs; i++) {
        /* both factors' product stays below 32767 * 65536 < 2**31 in size */
        const int32_t distance = 32767 * (int32_t)sample_i[i] - counters_i[i];
        const int32_t counter = counters_i[i] + ((distance * plasticity) >> 16);
        counters_i[i] = (int16_t)counter;
        keys_i[i] = (int16_t)(2 * counter + weights_i[i] - 32768);
    }
}

TARGET static int64_t KERNEL(count)(const int16_t *keys_i, int64_t inputs, int16_t least)
{
    int64_t total = 0;
    for (int64_t first = 0; first < inputs; first += 32767) {
        const int64_t stop = inputs - first < 32767 ? inputs : first + 32767;
        int16_t reached = 0; /* as narrow as the keys, so that both fill whole vectors */
        for (int64_t i = first; i < stop; i++)
            reached = (int16_t)(reached + (keys_i[i] >= least));
        total += reached;
    }
    return total;
}
