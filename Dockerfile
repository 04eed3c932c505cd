# For one or several NVIDIA GPUs, from TensorFlow's own image. No test builds it, and it has not been built yet.
#
#   docker build -t microscopygan .
#   docker run --rm --gpus all --user $(id -u):$(id -g) -v "$PWD":/images microscopygan \
#       train_cGAN.py --recipe=tuned --data_dir=my_data --num_iters=600
FROM tensorflow/tensorflow:2.19.0-gpu

WORKDIR /microscopygan
COPY . .
# The image's TensorFlow stays: it is the one that fits its CUDA.
RUN python3 -m pip install --no-cache-dir "tensorflow==2.19.0" -r requirements.txt

# Results and Keras' cache of VGG16's filters appear in the folder that is mounted.
ENV KERAS_HOME=/images/.keras PYTHONDONTWRITEBYTECODE=1
WORKDIR /images
ENTRYPOINT ["/bin/bash", "-c", "exec python3 /microscopygan/\"$0\" \"$@\""]
CMD ["train_cGAN.py", "--help"]
