"""FreeRTOS's heap_1 and heap_2, which `freertos` hands over to."""
