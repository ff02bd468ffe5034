/* Runs the stored samples and compares every output with what the exporting machine computed. */
#include <stdio.h>

#include "network.h"
#include "selftest_data.h"

int main(void)
{
    static knet_sum output[KNET_OUTPUTS];
    long compared = 0, wrong = 0;

    for (int s = 0; s < SELFTEST_SAMPLES; s++) {
        knet_run(&network, selftest_inputs[s], output);
        for (int i = 0; i < KNET_OUTPUTS; i++, compared++)
            wrong += output[i] != selftest_outputs[s][i];
        compared++;
        wrong += knet_class(&network, output) != selftest_classes[s];
    }
    printf("%ld of %ld values differ\n", wrong, compared);
    return wrong != 0;
}
